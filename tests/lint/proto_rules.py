#!/usr/bin/python3
"""Checks the rules of docs/protocol.md on proto/ovi/v1. Prints one line a violation; exits with 1 when there is any."""

import glob
import re
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2

SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*$")
CAMEL = re.compile(r"[A-Z][A-Za-z0-9]*$")
# Messages between programs of ours are one oneof, named by who speaks, and the one request that carries a whole stream.
STREAM_MESSAGES = {"NodeMessage", "NodeCommand", "GroupMessage", "GroupCommand"}


def upper_snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def message_problems(message, where):
    where = f"{where}.{message.name}"
    if not CAMEL.match(message.name):
        yield f"{where}: not UpperCamelCase"
    for field in message.field:
        if not SNAKE.match(field.name):
            yield f"{where}.{field.name}: not lower_snake_case"
    for enum in message.enum_type:
        yield from enum_problems(enum, where)
    for nested in message.nested_type:
        yield from message_problems(nested, where)


def enum_problems(enum, where):
    prefix = upper_snake(enum.name) + "_"
    for value in enum.value:
        if not value.name.startswith(prefix):
            yield f"{where}.{value.name}: must begin with {prefix}"
    if enum.value[0].number != 0 or enum.value[0].name not in (prefix + "UNSPECIFIED", prefix + "OK"):
        yield f"{where}.{enum.name}: value 0 must be {prefix}UNSPECIFIED"


def service_problems(file, seen):
    for service in file.service:
        for method in service.method:
            for kind, name in (("Request", method.input_type), ("Response", method.output_type)):
                name = name.rsplit(".", 1)[1]
                if name in STREAM_MESSAGES:
                    continue
                if name != method.name + kind:
                    yield f"{file.name}: {service.name}.{method.name}: {name} should be {method.name + kind}"
                if name in seen:
                    yield f"{file.name}: {name} serves two calls"
                seen.add(name)


def main():
    files = sorted(glob.glob("proto/ovi/v1/*.proto"))
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["protoc", "-I", "proto", "-o", out.name, *files], check=True)
        described = descriptor_pb2.FileDescriptorSet.FromString(out.read())
    problems = []
    seen = set()
    for file in described.file:
        if file.package != "ovi.v1":
            problems.append(f"{file.name}: package must be ovi.v1")
        for message in file.message_type:
            problems += message_problems(message, file.name)
        for enum in file.enum_type:
            problems += enum_problems(enum, file.name)
        problems += service_problems(file, seen)
    for problem in problems:
        print("lint:", problem)
    return 1 if problems else 0


sys.exit(main())
