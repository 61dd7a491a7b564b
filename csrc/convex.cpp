// Trials of the convex-optimisation network: binding for every device.
#include "../kernels/math/convex.h"
#include "ops.h"

namespace spikeops {
namespace {

// `value`, of the given sizes, with its last axis innermost in memory.
Tensor trial_tensor(const Tensor& value, const char* name, const Tensor& like, const Dims& sizes) {
  STD_TORCH_CHECK(sizes_of(value) == sizes && value.scalar_type() == like.scalar_type() && value.get_device() == like.get_device(),
                  "convex_snn_trial: expected ", name, " of another shape, dtype or device; see spikeops.functional.convex_snn_trial");
  return as_layout(value, sizes, contiguous_strides(sizes), like.scalar_type());
}

OptionalTensor trial_tensor(const OptionalTensor& value, const char* name, const Tensor& like, const Dims& sizes) {
  return value ? OptionalTensor(trial_tensor(*value, name, like, sizes)) : std::nullopt;
}

// A copy of a matrix with its first axis innermost in memory.
Tensor transposed_copy(const Tensor& matrix) {
  Tensor copy = empty_strided(matrix, sizes_of(matrix), {1, matrix.size(0)}, matrix.scalar_type());
  torch::stable::copy_(copy, matrix);
  return copy;
}

Tensor contiguous_copy(const Tensor& value) {
  Tensor copy = empty_strided(value, sizes_of(value), contiguous_strides(sizes_of(value)), value.scalar_type());
  torch::stable::copy_(copy, value);
  return copy;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> convex_snn_trial(
    const Tensor& x, const Tensor& feedforward, const Tensor& recurrent, const Tensor& thresholds, const OptionalTensor& decoder,
    const OptionalTensor& noise, const OptionalTensor& seed, const OptionalTensor& targets, const OptionalTensor& encoder,
    const std::vector<double>& numbers, int64_t buffer_steps) {
  Backend backend(x);
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double,
                  "convex_snn_trial: expected x to be float32 or float64");
  STD_TORCH_CHECK(x.dim() == 3 && x.size(0) >= 2 && feedforward.dim() == 2 && numbers.size() == 10,
                  "convex_snn_trial: expected x (bins, trials, inputs), feedforward (neurons, inputs) and 10 numbers");
  STD_TORCH_CHECK(targets.has_value() == encoder.has_value() && (!targets || (targets->dim() == 2 && encoder->dim() == 2)),
                  "convex_snn_trial: expected targets (trials, targets) and encoder (neurons, targets) together");
  STD_TORCH_CHECK(!seed || (seed->scalar_type() == ScalarType::Long && seed->numel() == 1 && seed->get_device() == x.get_device()),
                  "convex_snn_trial: expected seed to be an int64 tensor with one element on the device of x");
  const int64_t T = x.size(0) - 1, B = x.size(1), K = x.size(2), N = feedforward.size(0);
  const int64_t M = decoder ? decoder->size(0) : N, Y = targets ? targets->size(1) : 0;
  const bool learns = targets.has_value();

  const Tensor inputs = trial_tensor(x, "x", x, {T + 1, B, K});
  const Tensor weights = trial_tensor(feedforward, "feedforward", x, {N, K});
  const Tensor of_spikes = transposed_copy(trial_tensor(recurrent, "recurrent", x, {N, N}));
  const OptionalTensor decoding = trial_tensor(decoder, "decoder", x, {M, N});
  const OptionalTensor of_decoder = decoding ? OptionalTensor(transposed_copy(*decoding)) : std::nullopt;
  const OptionalTensor normal = trial_tensor(noise, "noise", x, {T, B, N});
  const OptionalTensor wanted = trial_tensor(targets, "targets", x, {B, Y});
  const OptionalTensor encoding = trial_tensor(encoder, "encoder", x, {N, Y});
  const Tensor limits = trial_tensor(thresholds, "thresholds", x, {N});

  const Tensor by_input = transposed_copy(weights);
  const Tensor learned_weights = learns ? contiguous_copy(weights) : nothing();
  const Tensor learned_limits = learns ? contiguous_copy(limits) : nothing();
  Tensor spikes = empty_strided(x, {T, B}, {B, 1}, ScalarType::Int);
  Tensor readout = empty_strided(x, {T + 1, B, M}, contiguous_strides({T + 1, B, M}), x.scalar_type());

  ConvexTrials args{};
  args.dtype = dtype_of("convex_snn_trial", x);
  args.T = T, args.B = B, args.N = N, args.K = K, args.M = M, args.Y = Y;
  args.dt = numbers[0], args.leak = numbers[1], args.spike_cost = numbers[2], args.sigma_v = numbers[3];
  args.feedforward_rate = numbers[4], args.threshold_rate = numbers[5], args.threshold_drift = numbers[6];
  args.forgetting = numbers[7], args.change = numbers[8], args.hold = numbers[9];
  args.buffer_steps = buffer_steps;
  args.x = read(inputs);
  args.feedforward = write(by_input);
  args.recurrent = read(of_spikes);
  args.thresholds = learns ? write(learned_limits) : const_cast<void*>(read(limits));
  args.decoder = read(of_decoder);
  args.noise = read(normal);
  args.seed = static_cast<const int64_t*>(read(seed));
  args.targets = read(wanted);
  args.encoder = read(encoding);
  args.feedforward_rows = learns ? write(learned_weights) : nullptr;
  args.spikes = static_cast<int32_t*>(write(spikes));
  args.readout = write(readout);
  backend.run(args);
  return {spikes, readout, learned_weights, learned_limits};
}

}  // namespace

SPIKEOPS_OPS(convex) {
  // numbers: dt, leak, spike_cost, sigma_v, feedforward_rate, threshold_rate, threshold_drift, forgetting, change, hold. Learns if
  // there are targets; the last two outputs are empty if there are none.
  SPIKEOPS_OP(convex_snn_trial,
          "convex_snn_trial(Tensor x, Tensor feedforward, Tensor recurrent, Tensor thresholds, Tensor? decoder, Tensor? noise,"
          " Tensor? seed, Tensor? targets, Tensor? encoder, float[] numbers, int buffer_steps)"
          " -> (Tensor spikes, Tensor readout, Tensor feedforward_learned, Tensor thresholds_learned)");
}

}  // namespace spikeops
