// The stream to the coordinator: order, loss, refusal, and ending.
#include "worker/agent/node_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "base/small_file.h"
#include "base/subprocess.h"
#include "tests/agent/nodes_server.h"
#include "tests/temp_folder.h"

namespace ovi {
namespace {

using std::chrono::milliseconds;

v1::NodeMessage Exited(const std::string& group_id) {
  v1::NodeMessage message;
  message.mutable_group_exited()->set_group_id(group_id);
  return message;
}

v1::NodeMessage Report(int core_count) {
  v1::NodeMessage message;
  message.mutable_report()->mutable_host()->set_core_count(core_count);
  return message;
}

class NodeLinkTest : public testing::Test {
 protected:
  void Open(NodeLinkSettings settings = {}) {
    if (settings.address.empty()) settings.address = coordinator.address();
    link = std::make_unique<NodeLink>(
        settings,
        NodeLink::Listener{.hello =
                               [this] {
                                 v1::NodeHello hello;
                                 hello.set_name("box");
                                 hello.set_protocol_version(++hellos);
                                 return hello;
                               },
                           .connected = [this](const v1::NodeWelcome&) { ++connections; },
                           .disconnected = [this](const absl::Status&) { ++disconnections; },
                           .command =
                               [this](const v1::NodeCommand& command) {
                                 link->Send(Exited("answer to " + command.stop_group().group_id()));
                               },
                           .refused = [this](const absl::Status& status) { refused.set_value(status); }});
    link->Start();
  }
  absl::Status AwaitRefusal() {
    auto future = refused.get_future();
    EXPECT_EQ(future.wait_for(std::chrono::seconds(30)), std::future_status::ready);
    return future.wait_for(milliseconds(0)) == std::future_status::ready ? future.get() : absl::OkStatus();
  }

  NodesServer coordinator;
  std::atomic<int> hellos = 0, connections = 0, disconnections = 0;
  std::promise<absl::Status> refused;
  std::unique_ptr<NodeLink> link;  // last, so that its callbacks find the rest
};

TEST_F(NodeLinkTest, CarriesMessagesBothWaysInOrder) {
  Open();
  ASSERT_TRUE(coordinator.AwaitHello());
  ASSERT_TRUE(coordinator.Stop("g1", 0));
  ASSERT_TRUE(coordinator.Stop("g2", 0));
  for (const char* expected : {"answer to g1", "answer to g2"}) {
    const auto message = coordinator.Await([](const v1::NodeMessage& m) { return m.has_group_exited(); });
    ASSERT_TRUE(message);
    EXPECT_EQ(message->group_exited().group_id(), expected);
  }
}

TEST_F(NodeLinkTest, KeepsWhatHappensWhileThereIsNoConnection) {
  coordinator.GoDown();
  Open();
  link->Send(Exited("g1"));
  link->Send(Exited("g2"));
  coordinator.ComeBack();
  for (const char* expected : {"g1", "g2"}) {
    const auto message = coordinator.Await([](const v1::NodeMessage& m) { return m.has_group_exited(); });
    ASSERT_TRUE(message);
    EXPECT_EQ(message->group_exited().group_id(), expected);
  }
}

TEST_F(NodeLinkTest, ForgetsReportsFromBeforeAConnection) {
  coordinator.GoDown();
  Open();
  link->Send(Report(1));
  link->Send(Exited("g1"));
  coordinator.ComeBack();
  const auto first = coordinator.Await([](const v1::NodeMessage&) { return true; });
  ASSERT_TRUE(first);
  EXPECT_TRUE(first->has_group_exited()) << "the hello said what the report would";
  link->Send(Report(2));
  EXPECT_TRUE(coordinator.AwaitReport([](const v1::NodeReport& r) { return r.host().core_count() == 2; }));
}

TEST_F(NodeLinkTest, DialsAgainWithAFreshHello) {
  Open();
  ASSERT_TRUE(coordinator.AwaitHello());
  coordinator.GoDown();
  coordinator.ComeBack();
  const auto again = coordinator.AwaitHello();
  ASSERT_TRUE(again);
  EXPECT_GE(again->protocol_version(), 2) << "asked for anew";
  ASSERT_TRUE(coordinator.Stop("g1", 0));
  ASSERT_TRUE(coordinator.AwaitExited("answer to g1"));
  EXPECT_EQ(connections, 2);
  EXPECT_EQ(disconnections, 1);
}

TEST_F(NodeLinkTest, GivesUpWhenTheCoordinatorWillNeverHaveIt) {
  coordinator.RefuseWith({grpc::StatusCode::UNAUTHENTICATED, "not you"});
  Open();
  const absl::Status status = AwaitRefusal();
  EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
  EXPECT_EQ(status.message(), "not you");
  EXPECT_EQ(connections, 0);
}

TEST_F(NodeLinkTest, GivesUpANameThatStaysTaken) {
  coordinator.RefuseWith({grpc::StatusCode::ALREADY_EXISTS, "taken"});
  Open({.clash_patience = milliseconds(300)});
  EXPECT_TRUE(absl::IsAlreadyExists(AwaitRefusal()));
  EXPECT_GE(hellos, 2) << "but not at once";
}

TEST_F(NodeLinkTest, ShowsItsToken) {
  coordinator.WantToken("abc");
  Open({.token = "abc"});
  EXPECT_TRUE(coordinator.AwaitHello());
}

TEST_F(NodeLinkTest, EncryptsWhatItSaysToACoordinatorItCanTrust) {
  if (!FindProgram("openssl").ok()) GTEST_SKIP() << "openssl, which makes the certificate, is not installed";
  const TempFolder folder;
  const auto made =
      RunAndCapture({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                     "-nodes", "-days", "2", "-subj", "/CN=head", "-addext", "subjectAltName=IP:127.0.0.1",
                     "-keyout", folder / "key.pem", "-out", folder / "cert.pem"});
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_TRUE(made->exit.ok()) << made->stderr_tail;
  grpc::SslServerCredentialsOptions options;
  options.pem_key_cert_pairs.push_back({ReadSmallFile(folder / "key.pem", 1 << 20).value(),
                                        ReadSmallFile(folder / "cert.pem", 1 << 20).value()});
  NodesServer secure(grpc::SslServerCredentials(options));
  secure.WantToken("abc");
  Open({.address = secure.address(), .token = "abc", .tls_ca_file = folder / "cert.pem"});
  EXPECT_TRUE(secure.AwaitHello());
  link->Stop(std::chrono::seconds(30));
}

TEST_F(NodeLinkTest, SaysWhatIsQueuedBeforeItEnds) {
  Open();
  ASSERT_TRUE(coordinator.AwaitHello());
  ASSERT_TRUE(coordinator.Stop("g0", 0));
  ASSERT_TRUE(coordinator.AwaitExited("answer to g0"));
  for (int i = 0; i < 100; ++i) link->Send(Exited("g" + std::to_string(i)));
  link->Stop(std::chrono::seconds(30));
  EXPECT_TRUE(coordinator.AwaitExited("g99"));
}

TEST_F(NodeLinkTest, EndsAtOnceWhereNobodyAnswers) {
  coordinator.GoDown();
  Open();
  link->Send(Exited("g1"));
  link->Stop(std::chrono::hours(1));  // the test's time limit would tell
  EXPECT_EQ(connections, 0);
}

}  // namespace
}  // namespace ovi
