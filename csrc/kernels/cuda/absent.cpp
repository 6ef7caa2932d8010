// A build without the CUDA back end.
#include "core/error.h"
#include "kernels/cuda/cuda.h"

namespace wengert::cuda {
namespace {
[[noreturn]] void absent() {
  fail("cuda: a device is not available: wengert was built without CUDA");
}
}  // namespace

bool built() {
  return false;
}
bool emulated() {
  return false;
}
int device_count() {
  return 0;
}
const std::string& why_none() {
  static const std::string why = "wengert was built without CUDA";
  return why;
}
bool is_available() {
  return false;
}
void require() {
  absent();
}
bool is_initialized() {
  return false;
}
const KernelTable& table() {
  static const KernelTable none;
  return none;
}
bool takes_number(const Launch&, int) {
  return false;
}
const DeviceProperties& properties() {
  absent();
}
int driver_version() {
  return 0;
}
int runtime_version() {
  return 0;
}
std::vector<std::string> architectures() {
  return {};
}
DeviceMemoryStats memory_stats() {
  return {};
}
void reset_peak_memory_stats() {}
void empty_cache() {}
void memory_info(size_t&, size_t&) {
  absent();
}
void set_memory_fraction(double) {
  absent();
}
void* allocate_pinned(size_t) {
  absent();
}
void free_pinned(void*, size_t) noexcept {}
Tensor empty_pinned(const Tensor&, const Dims&) {
  absent();
}
bool is_pinned(const void*) {
  return false;
}
StreamId default_stream() {
  absent();
}
StreamId current_stream() {
  absent();
}
StreamId set_current_stream(StreamId) {
  absent();
}
StreamId make_stream(int) {
  absent();
}
bool stream_done(StreamId) {
  absent();
}
void synchronize_stream(StreamId) {
  absent();
}
void synchronize() {
  absent();
}
void wait_event(StreamId, EventId) {
  absent();
}
EventId make_event(bool) {
  absent();
}
void free_event(EventId) noexcept {}
void record_event(EventId, StreamId) {
  absent();
}
bool event_done(EventId) {
  absent();
}
void synchronize_event(EventId) {
  absent();
}
float elapsed_ms(EventId, EventId) {
  absent();
}
void record_stream(const Storage&, StreamId) {
  absent();
}
class Graph::Impl {};
Graph::Graph(const std::function<void()>&, std::vector<HostRange>) {
  absent();
}
Graph::~Graph() = default;
void Graph::run() {}
size_t Graph::nodes() const {
  return 0;
}
bool Graph::takes(const Launch&) {
  return false;
}
void copy_within(void*, const void*, size_t) {
  absent();
}
bool launches_block() {
  return false;
}
void set_launches_block(bool) {
  absent();
}
std::string cublas() {
  return "";
}
void set_cublas(const std::string&) {
  absent();
}
int64_t cublas_calls() {
  return 0;
}
void force_gemm(const std::string&) {
  absent();
}
void run_on_host(const Launch&) {
  absent();
}
int64_t host_launches() {
  return 0;
}

}  // namespace wengert::cuda
