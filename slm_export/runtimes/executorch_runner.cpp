// Runs a .pte where there is no torch: built by executorch_native.py against the executorch wheel's own libraries.
//
//   executorch_runner MODEL.pte
//
// Requests on stdin, answers on stdout, all numbers int32 little endian unless said:
//   request  bytes of the method's name, the name, inputs, then for each: scalar type, rank, dims..., raw values
//   answer   0, outputs, then for each: scalar type, rank, dims..., raw values
//   refusal  1, ExecuTorch's error code; the program goes on waiting
// An end of stdin ends it.

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/platform/runtime.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

// The wheel has the library but not this header.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(unsigned int threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::runtime::Error;
using executorch::runtime::EValue;

static bool get(void* data, size_t bytes) { return fread(data, 1, bytes, stdin) == bytes; }
static void put(const void* data, size_t bytes) { fwrite(data, 1, bytes, stdout); }
static void put(int32_t value) { put(&value, sizeof value); }

struct Input {
  ScalarType type;
  std::vector<SizesType> sizes;
  std::vector<int64_t> values;  // whole words, for the alignment; the type says what they hold
};

static bool read_tensor(Input& input) {
  int32_t head[2];
  if (!get(head, sizeof head)) return false;
  input.type = static_cast<ScalarType>(head[0]);
  input.sizes.resize(head[1]);
  if (!get(input.sizes.data(), head[1] * sizeof(SizesType))) return false;
  size_t bytes = executorch::runtime::elementSize(input.type);
  for (auto size : input.sizes) bytes *= size;
  input.values.resize((bytes + sizeof(int64_t) - 1) / sizeof(int64_t));
  return get(input.values.data(), bytes);
}

static bool read_name(std::string& name) {
  int32_t bytes;
  if (!get(&bytes, sizeof bytes)) return false;
  name.resize(bytes);
  return get(name.data(), bytes);
}

static void refuse(Error error) {
  put(1);
  put(static_cast<int32_t>(error));
}

static void write_outputs(const std::vector<EValue>& outputs) {
  put(0);
  put(static_cast<int32_t>(outputs.size()));
  for (const auto& value : outputs) {
    const auto tensor = value.toTensor();
    put(static_cast<int32_t>(tensor.scalar_type()));
    put(static_cast<int32_t>(tensor.dim()));
    for (auto size : tensor.sizes()) put(static_cast<int32_t>(size));
    put(tensor.const_data_ptr(), tensor.nbytes());
  }
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  executorch::runtime::runtime_init();
  executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(1);
  Module module(argv[1], Module::LoadMode::Mmap);
  std::string method;
  int32_t count;
  while (read_name(method) && get(&count, sizeof count)) {
    std::vector<Input> inputs(count);
    std::vector<TensorPtr> tensors;
    std::vector<EValue> arguments;
    for (auto& input : inputs) {
      if (!read_tensor(input)) return 3;
      tensors.push_back(executorch::extension::from_blob(input.values.data(), input.sizes, input.type));
      arguments.emplace_back(tensors.back());
    }
    if (const auto outputs = module.execute(method, arguments); outputs.ok()) {
      write_outputs(*outputs);
    } else {
      refuse(outputs.error());
    }
    fflush(stdout);
  }
  return 0;
}
