"""A client that knows nothing of Ovi: Python's grpcio, and what the server tells about itself by reflection.

    third_party_client.py ADDRESS OUT_FILE PROTO_DIR

Submits a job, watches it to its end, downloads its video. PROTO_DIR holds grpc/reflection/v1alpha/reflection.proto (Debian's grpc-proto).
"""

import subprocess
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def reflection_module(proto_dir):
    """grpcio of Debian comes without the reflection client's stubs, so they are generated."""
    out = tempfile.mkdtemp()
    subprocess.run(
        ["protoc", "-I", proto_dir, "--python_out", out, "grpc/reflection/v1alpha/reflection.proto"], check=True
    )
    # The generated package is called grpc, as the library is: load its one file by path.
    sys.path.insert(0, out + "/grpc/reflection/v1alpha")
    import reflection_pb2

    return reflection_pb2


class Server:
    """Calls methods of services found by reflection."""

    def __init__(self, address, proto_dir):
        self.channel = grpc.insecure_channel(address)
        self.reflection = reflection_module(proto_dir)
        self.pool = descriptor_pool.DescriptorPool()
        self.factory = message_factory.MessageFactory(self.pool)
        self.known = set()

    def ask(self, **request):
        call = self.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=self.reflection.ServerReflectionRequest.SerializeToString,
            response_deserializer=self.reflection.ServerReflectionResponse.FromString,
        )
        return next(iter(call(iter([self.reflection.ServerReflectionRequest(**request)]))))

    def services(self):
        return [s.name for s in self.ask(list_services="").list_services_response.service]

    def add_file(self, reply):
        files = [descriptor_pb2.FileDescriptorProto.FromString(f) for f in reply.file_descriptor_response.file_descriptor_proto]
        for file in files:
            if file.name in self.known:
                continue
            self.known.add(file.name)
            for dependency in file.dependency:
                if dependency not in self.known:
                    self.add_file(self.ask(file_by_filename=dependency))
            self.pool.Add(file)

    def method(self, service, name):
        self.add_file(self.ask(file_containing_symbol=service))
        found = self.pool.FindServiceByName(service).methods_by_name[name]
        return self.factory.GetPrototype(found.input_type), self.factory.GetPrototype(found.output_type)

    def unary(self, service, name, **fields):
        request, response = self.method(service, name)
        call = self.channel.unary_unary(
            f"/{service}/{name}", request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )
        return call(request(**fields), timeout=30)

    def stream(self, service, name, **fields):
        request, response = self.method(service, name)
        call = self.channel.unary_stream(
            f"/{service}/{name}", request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )
        return call(request(**fields), timeout=120)


def main():
    address, out_file, proto_dir = sys.argv[1:]
    server = Server(address, proto_dir)
    jobs = "ovi.v1.Jobs"
    services = server.services()
    assert jobs in services and "grpc.health.v1.Health" in services, services
    spec = {
        "model_name": "mini-ovi",
        "text_prompt": "A red circle moves right across a black background. Audio: a low steady tone.",
        "sample_steps": 4,
    }
    job_id = server.unary(jobs, "SubmitJob", spec=spec).job_id
    states = []
    for update in server.stream(jobs, "WatchJob", job_id=job_id):
        state = update.job.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number[update.job.state].name
        if not states or states[-1] != state:
            states.append(state)
        job = update.job
    print(" -> ".join(states))
    assert states[-1] == "JOB_STATE_COMPLETED", job
    name = next(a.file_name for a in job.artifacts if a.file_name.endswith(".mp4"))
    with open(out_file, "wb") as file:
        for part in server.stream(jobs, "DownloadArtifact", job_id=job_id, file_name=name):
            file.write(part.data)
    try:
        server.unary(jobs, "GetJob", job_id="999999")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
    else:
        raise AssertionError("an unknown job was found")


main()
