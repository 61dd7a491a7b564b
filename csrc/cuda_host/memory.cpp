#include "memory.h"

#include <cstring>

#include "../common.h"

namespace spikeops {

static int64_t memory_offset = 0, only_allocation = -1, allocations = 0;

void set_memory_offset(int64_t elements, int64_t only) {
  memory_offset = elements;
  only_allocation = only;
  allocations = 0;
}

// In the place of the allocation in csrc/common.h.
Tensor empty_strided(const Tensor&, Extents sizes, Extents strides, ScalarType dtype) {
  int64_t extent = 1;
  for (size_t d = 0; d < sizes.size(); ++d) extent = sizes[d] == 0 || extent == 0 ? 0 : extent + (sizes[d] - 1) * strides[d];
  const bool is_offset = only_allocation < 0 || allocations == only_allocation;
  ++allocations;
  const int64_t offset = extent == 0 || !is_offset ? 0 : memory_offset;
  const Dims count{offset + extent}, one{1};
  const auto code = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  AtenTensorHandle memory, tensor;
  TORCH_ERROR_CODE_CHECK(
      aoti_torch_empty_strided(1, count.data(), one.data(), code, aoti_torch_device_type_cpu(), 0, &memory));
  const Tensor owner(memory);
  if (extent) std::memset(owner.mutable_data_ptr(), kPoison, count[0] * owner.element_size());
  TORCH_ERROR_CODE_CHECK(
      aoti_torch__reinterpret_tensor(memory, int64_t(sizes.size()), sizes.data(), strides.data(), offset, &tensor));
  return Tensor(tensor);
}

}  // namespace spikeops
