// A device for the tests: torch's slot for out-of-tree backends, with an allocator of its own.
//
// Kernels run on the CPU through a boxed fallback, but only on tensors that all lie on the device:
// mixing devices is the error that it is on a GPU. Counted are kernels and blocking copies; refused,
// on demand, float64, operations by name, and the n-th allocation or all beyond a limit.

#include <torch/extension.h>

#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/Resize.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr auto kSimulated = c10::DeviceType::PrivateUse1;
const c10::Device kDevice(kSimulated, 0);

struct State {
  int64_t in_use = 0, peak = 0, allocations = 0, kernels = 0, copies = 0;
  int64_t fail_at = 0, limit = 0;  // 0: never
  bool refuse_double = false;
  std::set<std::string> refused;
  std::map<std::string, int64_t> calls;
};

State& state() {
  static State one;
  return one;
}

struct Block {
  void* memory;
  size_t size;
};

void free_block(void* context) {
  auto* block = static_cast<Block*>(context);
  state().in_use -= static_cast<int64_t>(block->size);
  std::free(block->memory);
  delete block;
}

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    auto& now = state();
    if (size == 0) return {nullptr, nullptr, &free_block, kDevice};
    ++now.allocations;
    const bool beyond = now.limit && now.in_use + static_cast<int64_t>(size) > now.limit;
    TORCH_CHECK_WITH(OutOfMemoryError, !beyond && now.allocations != now.fail_at,
                     "simulated device out of memory: ", size, " bytes asked for, ", now.in_use,
                     " in use");
    void* memory = std::malloc(size);
    now.in_use += static_cast<int64_t>(size);
    now.peak = std::max(now.peak, now.in_use);
    return {memory, new Block{memory, size}, &free_block, kDevice};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t size) const override {
    std::memcpy(to, from, size);
  }
};

Allocator allocator;

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kSimulated; }
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override {
    return c10::Stream(c10::Stream::DEFAULT, kDevice);
  }
  c10::Stream getDefaultStream(c10::Device) const override {
    return c10::Stream(c10::Stream::DEFAULT, kDevice);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex,
              const c10::EventFlag) const override {}
};

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return at::globalContext().defaultGenerator(at::kCPU);
  }
  at::Generator getNewGenerator(c10::DeviceIndex) const override {
    return at::globalContext().defaultGenerator(at::kCPU).clone();
  }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t size) const override {
    auto* whole = storage.unsafeGetStorageImpl();
    auto fresh = allocator.allocate(size);
    if (size && whole->nbytes())
      std::memcpy(fresh.get(), whole->data_ptr().get(), std::min(size, whole->nbytes()));
    whole->set_data_ptr_noswap(std::move(fresh));
    whole->set_nbytes(size);
  }
};

bool is_simulated(const at::Tensor& tensor) {
  return tensor.defined() && tensor.device().type() == kSimulated;
}

// the same memory as a CPU tensor
at::Tensor on_cpu(const at::Tensor& tensor) {
  auto options = at::TensorOptions().dtype(tensor.dtype()).device(at::kCPU);
  auto* data = const_cast<void*>(tensor.unsafeGetTensorImpl()->data());
  auto same = at::from_blob(data, tensor.sizes(), tensor.strides(), options);
  if (tensor.is_conj()) same._set_conj(true);
  if (tensor.is_neg()) same._set_neg(true);
  return same;
}

void check_dtype(std::optional<at::ScalarType> dtype) {
  const auto kind = dtype.value_or(c10::typeMetaToScalarType(c10::get_default_dtype()));
  TORCH_CHECK_TYPE(!state().refuse_double || kind != at::kDouble,
                   "the simulated device does not support float64");
}

at::Tensor empty(c10::SymIntArrayRef size, std::optional<at::ScalarType> dtype,
                 std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  check_dtype(dtype);
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(size), &allocator,
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                         std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                         std::optional<at::Device>, std::optional<bool>) {
  check_dtype(dtype);
  return at::detail::empty_strided_generic(
      C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), &allocator,
      c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype));
}

at::Tensor as_strided(const at::Tensor& self, c10::SymIntArrayRef size, c10::SymIntArrayRef stride,
                      std::optional<c10::SymInt> offset) {
  auto result = at::detail::make_tensor<at::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(self.storage()), self.key_set(), self.dtype());
  auto* whole = result.unsafeGetTensorImpl();
  whole->set_sizes_and_strides(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                               offset ? offset->expect_int() : self.storage_offset());
  return result;
}

at::Tensor view(const at::Tensor& self, c10::SymIntArrayRef size) {
  const auto shape = C10_AS_INTARRAYREF_SLOW(size);
  const auto whole = on_cpu(self).view(shape);  // computes the strides, or says why there are none
  return self.as_strided(whole.sizes(), whole.strides(), self.storage_offset());
}

const at::Tensor& resize(const at::Tensor& self, c10::SymIntArrayRef size,
                         std::optional<at::MemoryFormat>) {
  const auto shape = C10_AS_INTARRAYREF_SLOW(size);
  int64_t count = 1;
  for (auto n : shape) count *= n;
  const auto bytes = static_cast<size_t>(count + self.storage_offset()) * self.element_size();
  if (bytes > self.storage().nbytes()) Hooks().resizePrivateUse1Bytes(self.storage(), bytes);
  self.unsafeGetTensorImpl()->set_sizes_contiguous(shape);
  return self;
}

at::Tensor& set_storage(at::Tensor& self, at::Storage source, c10::SymInt offset,
                        c10::SymIntArrayRef size, c10::SymIntArrayRef stride) {
  auto* whole = self.unsafeGetTensorImpl();
  whole->set_storage_keep_dtype(std::move(source));
  if (stride.empty() && !size.empty()) {
    whole->set_storage_offset(offset.expect_int());
    whole->set_sizes_contiguous(C10_AS_INTARRAYREF_SLOW(size));
  } else {
    whole->set_sizes_and_strides(C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride),
                                 offset.expect_int());
  }
  return self;
}

at::Tensor& set_whole_storage(at::Tensor& self, at::Storage source) {
  const auto count = static_cast<int64_t>(source.nbytes() / self.element_size());
  return set_storage(self, std::move(source), 0, c10::SymIntArrayRef({count}), {});
}

at::Tensor& set_tensor(at::Tensor& self, const at::Tensor& source) {
  return set_storage(self, source.storage(), source.storage_offset(), source.sym_sizes(),
                     source.sym_strides());
}

at::Tensor copy_from(const at::Tensor& self, const at::Tensor& to, bool) {
  if (self.device() == to.device()) {
    ++state().kernels;
  } else {
    ++state().copies;  // memory that is not pinned blocks whatever is asked for
  }
  auto target = is_simulated(to) ? on_cpu(to) : to;
  target.copy_(is_simulated(self) ? on_cpu(self) : self);
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& to) {
  to.resize_(self.sizes());
  return copy_from(self, to, false);
}

at::Scalar local_scalar(const at::Tensor& self) {
  ++state().copies;
  return on_cpu(self).item();
}

// what waits for the device, because the size of the result hangs on the values
const std::set<std::string> kWaits = {"aten::nonzero", "aten::masked_select", "aten::_unique2",
                                      "aten::_unique", "aten::unique_dim", "aten::equal",
                                      "aten::bincount", "aten::is_nonzero"};

at::Tensor on_device(const at::Tensor& found,
                     const std::vector<std::pair<at::Tensor, at::Tensor>>& given) {
  if (!found.defined()) return found;
  const auto* data = static_cast<const char*>(found.unsafeGetTensorImpl()->data());
  for (const auto& [original, same] : given) {
    if (found.is_same(same)) return original;
    const auto* first = static_cast<const char*>(original.storage().data());
    if (data && data >= first && data < first + original.storage().nbytes()) {
      const auto offset = (data - first) / static_cast<int64_t>(found.element_size());
      // found's own dtype: it may show a complex tensor as a real one
      auto part = at::detail::make_tensor<at::TensorImpl>(
          c10::TensorImpl::VIEW, c10::Storage(original.storage()), original.key_set(),
          found.dtype());
      part.unsafeGetTensorImpl()->set_sizes_and_strides(found.sizes(), found.strides(), offset);
      return part;
    }
  }
  const auto whole = found.is_non_overlapping_and_dense() ? found : found.contiguous();
  auto result = at::empty_strided(whole.sizes(), whole.strides(), whole.options().device(kDevice));
  std::memcpy(result.unsafeGetTensorImpl()->mutable_data(), whole.unsafeGetTensorImpl()->data(),
              whole.nbytes());
  return result;
}

struct Call {
  const std::string& name;
  std::vector<std::pair<at::Tensor, at::Tensor>> given{};    // on the device, its alias
  std::vector<std::pair<at::Tensor, at::Tensor>> outputs{};  // `out=`, of whatever size

  at::Tensor in(const at::Tensor& tensor, bool out, bool index) {
    if (!tensor.defined()) return tensor;
    if (!is_simulated(tensor)) {
      if (index) ++state().copies;
      TORCH_CHECK(index || tensor.dim() == 0,
                  "Expected all tensors to be on the same device, but found at least two devices, ",
                  kDevice, " and ", tensor.device(), " (", name, ")");
      return tensor;
    }
    if (index && (tensor.scalar_type() == at::kBool || tensor.scalar_type() == at::kByte))
      ++state().copies;
    if (out) {
      auto fresh = at::empty({0}, tensor.options().device(at::kCPU));
      outputs.emplace_back(tensor, fresh);
      return fresh;
    }
    auto same = on_cpu(tensor);
    given.emplace_back(tensor, same);
    return same;
  }

  at::Tensor out(const at::Tensor& tensor) {
    for (auto& [original, fresh] : outputs)
      if (tensor.is_same(fresh)) return original;
    return on_device(tensor, given);
  }

  void write_outputs() {
    for (auto& [original, fresh] : outputs) {
      if (original.sizes() != fresh.sizes()) original.resize_(fresh.sizes());
      on_cpu(original).copy_(fresh);
    }
  }
};

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const auto& name = schema.name();
  auto& now = state();
  TORCH_CHECK_NOT_IMPLEMENTED(!now.refused.count(name), "The operator '", name,
                              "' is not currently implemented for the simulated device");
  ++now.kernels;
  ++now.calls[name];
  if (kWaits.count(name)) ++now.copies;
  Call call{name};
  const auto& arguments = schema.arguments();
  const auto first = stack->size() - arguments.size();
  const bool indexes = name.rfind("aten::index", 0) == 0 || name == "aten::_index_put_impl_";
  for (size_t i = 0; i < arguments.size(); ++i) {
    auto& value = (*stack)[first + i];
    const auto* info = arguments[i].alias_info();
    const bool out = info && info->isWrite() && arguments[i].kwarg_only();
    if (value.isTensor()) {
      value = call.in(value.toTensor(), out, false);
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> all;
      for (const auto& each : value.toTensorVector()) all.push_back(call.in(each, false, false));
      value = c10::IValue(all);
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> all;
      for (const auto& each : value.toOptionalTensorVector())
        all.push_back(each ? std::optional(call.in(*each, false, indexes)) : std::nullopt);
      value = c10::IValue(all);
    } else if (value.isDevice()) {
      value = c10::IValue(c10::Device(c10::kCPU));
    }
  }
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  call.write_outputs();
  const auto count = schema.returns().size();
  for (size_t i = stack->size() - count; i < stack->size(); ++i) {
    auto& value = (*stack)[i];
    if (value.isTensor()) {
      value = call.out(value.toTensor());
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> all;
      for (const auto& each : value.toTensorVector()) all.push_back(call.out(each));
      value = c10::IValue(all);
    }
  }
}

at::Tensor convolution(const at::Tensor& input, const at::Tensor& weight,
                       const std::optional<at::Tensor>& bias, c10::SymIntArrayRef stride,
                       c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed,
                       c10::SymIntArrayRef output_padding, c10::SymInt groups) {
  ++state().kernels;
  static const std::string name = "aten::convolution";
  ++state().calls[name];
  Call call{name};
  std::optional<at::Tensor> with;
  if (bias && bias->defined()) with = call.in(*bias, false, false);
  auto found = at::convolution_symint(call.in(input, false, false), call.in(weight, false, false),
                                      with, stride, padding, dilation, transposed, output_padding,
                                      groups);
  return on_device(found, {});
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& gradient, const at::Tensor& input, const at::Tensor& weight,
    c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation,
    bool transposed, c10::SymIntArrayRef output_padding, c10::SymInt groups,
    std::array<bool, 3> wanted) {
  ++state().kernels;
  static const std::string name = "aten::convolution_backward";
  ++state().calls[name];
  Call call{name};
  const std::vector<c10::SymInt> bias = {weight.sym_size(transposed ? 1 : 0) *
                                         (transposed ? groups : c10::SymInt(1))};
  auto [a, b, c] = at::convolution_backward_symint(
      call.in(gradient, false, false), call.in(input, false, false), call.in(weight, false, false),
      c10::SymIntArrayRef(bias), stride, padding, dilation, transposed, output_padding, groups,
      wanted);
  return {on_device(a, {}), on_device(b, {}), on_device(c, {})};
}

}  // namespace

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("as_strided", as_strided);
  m.impl("view", view);
  m.impl("resize_", resize);
  m.impl("set_.source_Storage_storage_offset", set_storage);
  m.impl("set_.source_Storage", set_whole_storage);
  m.impl("set_.source_Tensor", set_tensor);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("_local_scalar_dense", local_scalar);
  m.impl("convolution_overrideable", convolution);
  m.impl("convolution_backward_overrideable", convolution_backward);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFallthrough());
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  c10::SetAllocator(kSimulated, &allocator);
  static Hooks hooks;
  at::RegisterPrivateUse1HooksInterface(&hooks);
  m.def("counts", [] {
    const auto& now = state();
    return std::map<std::string, int64_t>{{"in_use", now.in_use},
                                          {"peak", now.peak},
                                          {"allocations", now.allocations},
                                          {"kernels", now.kernels},
                                          {"copies", now.copies}};
  });
  m.def("calls", [] { return state().calls; });
  m.def("reset_counts", [] {
    auto& now = state();
    now.peak = now.in_use;
    now.allocations = now.kernels = now.copies = 0;
    now.calls.clear();
  });
  m.def("refuse", [](bool doubles, std::set<std::string> names) {
    state().refuse_double = doubles;
    state().refused = std::move(names);
  });
  m.def("fail", [](int64_t at, int64_t limit) {
    state().allocations = 0;
    state().fail_at = at;
    state().limit = limit;
  });
}
