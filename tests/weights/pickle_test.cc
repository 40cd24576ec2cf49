// Goal: the values plain containers need, nothing run, and every limit a clean error.
#include "worker/weights/pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/weights/weight_files.h"

namespace ovi {
namespace {

using test::AsBytes;
using test::Le;
using test::PickleText;
using testing::ElementsAre;
using testing::HasSubstr;
using Kind = PickleValue::Kind;

TEST(Pickle, BuildsNestedContainers) {
  // {"a": [1, -2, 300, True, None], "b": (1.5, "c")}, then one byte that is not its own.
  PickleText pickle;
  pickle.Raw("}(").String("a").Raw("](K\x01J\xfe\xff\xff\xffM\x2c\x01\x88Ne");
  pickle.String("b")
      .Raw("G\x3f\xf8" + std::string(6, '\0'))
      .Raw(
          "\x8c\x01"
          "c")
      .Raw("\x86u.");
  const std::string text = pickle.text + "x";
  const auto parsed = ParsePickle(AsBytes(text));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->bytes, text.size() - 1);

  const PickleValue& root = parsed->at(parsed->root);
  ASSERT_EQ(root.kind, Kind::kDict);
  const PickleValue* list = parsed->Get(root, "a");
  ASSERT_NE(list, nullptr);
  EXPECT_EQ(list->kind, Kind::kList);
  std::vector<std::int64_t> integers;
  for (const PickleId id : list->items) integers.push_back(parsed->at(id).integer);
  EXPECT_THAT(integers, ElementsAre(1, -2, 300, 1, 0));
  const PickleValue* tuple = parsed->Get(root, "b");
  ASSERT_NE(tuple, nullptr);
  ASSERT_EQ(tuple->items.size(), 2u);
  EXPECT_EQ(parsed->at(tuple->items[0]).kind, Kind::kFloat);
  EXPECT_EQ(parsed->at(tuple->items[1]).text, "c");
  EXPECT_EQ(parsed->Get(root, "c"), nullptr);
}

TEST(Pickle, ReadsLongIntegersWithTheirSign) {
  const struct {
    const char* name;
    std::string digits;
    std::int64_t value;
  } cases[] = {
      {"empty is zero", "", 0},
      {"one byte", "\x7f", 127},
      {"minus one", "\xff", -1},
      {"a leading zero byte keeps it positive", std::string("\xff\0", 2), 255},
      {"five bytes", std::string("\0\0\0\0\1", 5), std::int64_t{1} << 32},
      {"least of 64 bits", std::string("\0\0\0\0\0\0\0\x80", 8), std::numeric_limits<std::int64_t>::min()},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string text = "\x80\x02\x8a" + Le(static_cast<std::uint8_t>(c.digits.size())) + c.digits + ".";
    const auto parsed = ParsePickle(AsBytes(text));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->at(parsed->root).integer, c.value);
  }
}

TEST(Pickle, SharesWhatTheMemoShares) {
  PickleText pickle;
  pickle.Raw("]q\x05h\x05\x86.");
  const auto parsed = ParsePickle(AsBytes(pickle.text));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const PickleValue& tuple = parsed->at(parsed->root);
  ASSERT_EQ(tuple.items.size(), 2u);
  EXPECT_EQ(tuple.items[0], tuple.items[1]);
}

TEST(Pickle, AcceptsAListThatContainsItself) {
  PickleText pickle;
  pickle.Raw("]q").Raw(std::string(1, '\0')).Raw("h").Raw(std::string(1, '\0')).Raw("a.");
  const auto parsed = ParsePickle(AsBytes(pickle.text));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(parsed->at(parsed->root).items, ElementsAre(parsed->root));
}

TEST(Pickle, MakesDictsOfOrderedDictsInBothForms) {
  PickleText by_items, by_pairs;
  by_items.Global("collections", "OrderedDict")
      .Raw(")R(")
      .String("k")
      .Raw("K\x07u")
      .Raw("}")
      .String("_metadata")
      .Raw("Nsb.");
  by_pairs.Global("collections", "OrderedDict")
      .Raw("](](")
      .String("k")
      .Raw(
          "K\x07"
          "ee\x85R.");
  for (const std::string& text : {by_items.text, by_pairs.text}) {
    const auto parsed = ParsePickle(AsBytes(text));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    const PickleValue& root = parsed->at(parsed->root);
    EXPECT_EQ(root.kind, Kind::kDict);
    EXPECT_EQ(root.items.size(), 2u);  // the attribute _metadata is dropped
    ASSERT_NE(parsed->Get(root, "k"), nullptr);
    EXPECT_EQ(parsed->Get(root, "k")->integer, 7);
  }
}

struct Refusal {
  const char* name;
  std::string bytes;
  const char* message;
};

void PrintTo(const Refusal& refusal, std::ostream* out) {
  *out << refusal.name;
}

class PickleRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(PickleRefuses, WithByteAndReason) {
  const auto parsed = ParsePickle(AsBytes(GetParam().bytes));
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(GetParam().message));
  EXPECT_THAT(std::string(parsed.status().message()), testing::Not(HasSubstr("\n")));
}

std::string Text(std::string_view opcodes) {
  return PickleText().Raw(opcodes).text;
}

INSTANTIATE_TEST_SUITE_P(
    Globals, PickleRefuses,
    testing::Values(
        Refusal{"os_system", PickleText().Global("os", "system").String("true").Raw("\x85R.").text,
                "pickle byte 2: the global os.system is not allowed in a weight file"},
        Refusal{"builtins_eval", PickleText().Global("builtins", "eval").text,
                "the global builtins.eval is not allowed"},
        Refusal{"by_stack", PickleText().String("os").String("system").Raw("\x93.").text,
                "the global os.system"},
        Refusal{"near_miss", PickleText().Global("torch._utils", "_rebuild_tensor_v3").text,
                "_rebuild_tensor_v3"},
        Refusal{"name_across_modules", PickleText().Global("torch", "OrderedDict").text, "torch.OrderedDict"},
        Refusal{"control_characters", PickleText().Global("a\rb", "c").text, R"(the global a\rb.c)"},
        Refusal{"storage_called", PickleText().Global("torch", "FloatStorage").Raw(")R.").text,
                "a storage type is called"},
        Refusal{"call_of_no_global", Text(")R."), "an opcode needs 2 values"},
        Refusal{"call_of_a_tuple", Text("))R."), "a call is not of a global with a tuple"},
        Refusal{"state_on_a_list", Text("]}b."), "no OrderedDict"},
        Refusal{"state_on_a_tensor", PickleText().Tensor("FloatStorage", "0", 1, 0, {1}, {1}).Raw("}b.").text,
                "no OrderedDict"},
        Refusal{"odd_pairs", PickleText().Global("collections", "OrderedDict").Raw("](](K\1ee\x85R.").text,
                "pairs"}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Opcodes, PickleRefuses,
    testing::Values(Refusal{"nothing", "", "cut short"},
                    Refusal{"no_stop", Text("N"), "pickle byte 3: the pickle is cut short"},
                    Refusal{"protocol_1", "\x80\x01N.", "pickle protocol 1 is not 2 to 4"},
                    Refusal{"protocol_5", "\x80\x05N.", "pickle protocol 5 is not 2 to 4"},
                    Refusal{"new_object", Text("\x81."), "opcode 0x81 is not supported"},
                    Refusal{"instance", Text("(i"), "opcode 0x69 is not supported"},
                    Refusal{"extension_registry", Text("\x82\x01."), "opcode 0x82 is not supported"},
                    Refusal{"stop_on_empty", Text("."), "STOP leaves 0 values"},
                    Refusal{"stop_on_two", Text("NN."), "STOP leaves 2"},
                    Refusal{"stop_in_mark", Text("N(."), "and 1 marks"},
                    Refusal{"no_mark", Text("Nt."), "needs a mark"},
                    Refusal{"pop_through_a_mark", Text("NN(N\x86."), "an opcode needs 2 values, there are 1"},
                    Refusal{"list_items_on_a_dict", Text("}Na."), "items are added to no list"},
                    Refusal{"dict_items_on_a_list", Text("]NNs."), "items are set on no dict"},
                    Refusal{"odd_dict_items", Text("}(NNNu."), "a key without a value"},
                    Refusal{"memo_never_put", Text("h\x03."), "memo entry 3 was never put"},
                    Refusal{"memo_of_nothing", Text("q\x01."), "needs a value"},
                    Refusal{"string_beyond_the_end",
                            Text("X\xff\xff\xff\xff"
                                 "ab"),
                            "a string of 4294967295 bytes is cut short"},
                    Refusal{"string_of_2_to_the_64",
                            Text("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
                                 "ab"),
                            "is cut short"},
                    Refusal{"long_of_9_bytes", Text("\x8a\x09" + std::string(9, '\1') + "."),
                            "an integer has 9 bytes"},
                    Refusal{"global_without_end", Text("cos\nsystem"), "cut short"}),
    [](const auto& test) { return test.param.name; });

TEST(Pickle, RefusesMoreValuesThanAnyModelHas) {
  const auto parsed = ParsePickle(AsBytes(Text("(" + std::string(2'000'001, 'N') + "t.")));
  ASSERT_FALSE(parsed.ok());
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("more than 2000000 values"));
}

TEST(Pickle, RefusesReferencesThatMultiplyWithoutNewValues) {
  std::string text = "Nq\x01(";
  for (int i = 0; i < 4'100'000; ++i) text += "h\x01";
  const auto parsed = ParsePickle(AsBytes(Text(text + "t.")));
  ASSERT_FALSE(parsed.ok());
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("more than 4000000 references"));
}

TEST(Pickle, NestsAsDeepAsItLikesWithoutRecursion) {
  const std::string text = Text(std::string(500'000, ']') + std::string(499'999, 'a') + ".");
  EXPECT_TRUE(ParsePickle(AsBytes(text)).ok());
}

}  // namespace
}  // namespace ovi
