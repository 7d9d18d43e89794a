// Runs a .pte where there is no torch: built by executorch_native.py against the executorch wheel's own libraries.
//
//   executorch_runner MODEL.pte
//
// Requests on stdin, answers on stdout, all numbers int32 little endian unless said:
//   request  inputs, then for each: rank, dims..., int64 values
//   answer   0, outputs, then for each: scalar type, rank, dims..., raw values
//   refusal  1, ExecuTorch's error code; the program goes on waiting
// An end of stdin ends it.

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/platform/runtime.h>

#include <cstdint>
#include <cstdio>
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

static bool read_tensor(std::vector<int64_t>& values, std::vector<SizesType>& sizes) {
  int32_t rank;
  if (!get(&rank, sizeof rank)) return false;
  sizes.resize(rank);
  if (!get(sizes.data(), rank * sizeof(SizesType))) return false;
  size_t count = 1;
  for (auto size : sizes) count *= size;
  values.resize(count);
  return get(values.data(), count * sizeof(int64_t));
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
  const Error loaded = module.load_method("forward");
  int32_t inputs;
  while (get(&inputs, sizeof inputs)) {
    std::vector<std::vector<int64_t>> values(inputs);
    std::vector<TensorPtr> tensors;
    std::vector<EValue> arguments;
    for (auto& data : values) {
      std::vector<SizesType> sizes;
      if (!read_tensor(data, sizes)) return 3;
      tensors.push_back(executorch::extension::from_blob(data.data(), sizes, ScalarType::Long));
      arguments.emplace_back(tensors.back());
    }
    if (loaded != Error::Ok) {
      refuse(loaded);
    } else if (const auto outputs = module.execute("forward", arguments); outputs.ok()) {
      write_outputs(*outputs);
    } else {
      refuse(outputs.error());
    }
    fflush(stdout);
  }
  return 0;
}
