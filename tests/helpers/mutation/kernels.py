"""Wrong changes to what is compiled: the arithmetic, the CPU kernels, the CUDA kernels (on the host), the bindings."""

from mutation.mutant import Mutant

MUTANTS = (
    # --- kernels/math
    Mutant(
        "kernels/math/rate.h", "the normaliser's derivative does not decay",
        "sums.weight + decay * sums.dweight", "sums.weight + sums.dweight",
        "tests/ops/test_lif_rate.py",
    ),
    Mutant(
        "kernels/math/lif.h", "gradient through reset to a value has the wrong sign",
        "grad_spike + grad_v * (v_reset - u)", "grad_spike + grad_v * (u - v_reset)",
        "tests/ops/test_lif.py tests/ops/test_lif_options.py",
    ),
    Mutant(
        "kernels/math/lif.h", "strict neurons fire at their threshold, too",
        "n.strict ? above : threshold, n.detach_reset", "threshold, n.detach_reset",
        "tests/ops/test_lif.py tests/ops/test_lif_options.py",
    ),
    Mutant(
        "kernels/math/channels.h", "the mean of distances without what they are to",
        "return {first + mean, variance < 0 ? 0 : variance};", "return {mean, variance < 0 ? 0 : variance};",
        "tests/ops/test_batch_norm_lif.py -k statistics",
    ),
    Mutant(
        "kernels/math/batch_norm_lif.h", "the gradient through the variance has the wrong sign",
        "(grad_y - grad_mean) - (x - mean) * grad_slope", "(grad_y - grad_mean) + (x - mean) * grad_slope",
        "tests/ops/test_batch_norm_lif.py -k torchs",
    ),
    Mutant(
        "kernels/cpu/channel_sums.h", "a block of rows that goes on adds to what was there before",
        "if (row % channels_.rows_per_block == 0)", "if (row == 0)",
        "tests/ops/test_batch_norm_lif.py -k begin_with_nothing",
    ),
    Mutant(
        "kernels/math/lif_bits.h", "a window without its upper edge",
        "spikes <= w.high", "spikes < w.high",
        "tests/ops/test_lif_bits.py",
    ),
    Mutant(
        "kernels/cpu/neurons/lif_bits.h", "a potential that is NaN is forgotten",
        "v[i] != v[i] ? of_nan : S(0)", "v[i] > v[i] ? of_nan : S(0)",
        "tests/ops/test_lif_bits.py",
    ),
    Mutant(
        "kernels/math/lif_distances.h", "the sign of a distance is its own, whether the neuron has fired or not",
        "(fired ? 0u : kSilent)", "(distance < S(0) ? kSilent : 0u)",
        "tests/ops/test_lif_distances.py",
    ),
    Mutant(
        "kernels/math/lif_distances.h", "a distance may be rounded to infinity",
        "const S within = size < most ? size : most;", "const S within = size;",
        "tests/ops/test_lif_distances.py",
    ),
    Mutant(
        "kernels/cpu/lif_distances.cpp", "the way back reads the distances of the step before",
        "if (t > 0) prefetch(kept - a.neuron.N, rows.n);\n    slope_row(params.surrogate, params.threshold, kept,",
        "if (t > 0) prefetch(kept - a.neuron.N, rows.n);\n    slope_row(params.surrogate, params.threshold, t > 0 ? kept - a.neuron.N : kept,",
        "tests/ops/test_lif_distances.py",
    ),
    Mutant(
        "kernels/math/surrogate.h", "the rectangle without its edge",
        "return d <= scale ? peak : outside;", "return d < scale ? peak : outside;",
        "tests/ops/test_surrogates.py",
    ),
    Mutant(
        "kernels/math/tssl_bp.h", "quiet level from the membrane's time constant",
        "S(1.0 / (4.0 * n.tau_s))", "S(1.0 / (4.0 * n.tau_m))",
        "tests/ops/test_tssl_bp.py",
    ),
    Mutant(
        "kernels/math/tssl_bp.h", "what replaces a quiet neuron's gradient is carried on",
        "  carry.membrane = inter;\n", "  carry.membrane = quiet ? g * slopes.quiet : inter;\n",
        "tests/ops/test_tssl_bp.py",
    ),
    Mutant(
        "kernels/math/feedback.h", "negative spikes strictly below the threshold",
        "u <= -p.threshold", "u < -p.threshold",
        "tests/ops/test_feedback.py",
    ),
    Mutant(
        "kernels/math/base.h", "halves of bfloat16 rounded up, not to even",
        "bits + 0x7fffu + ((bits >> 16) & 1u)", "bits + 0x8000u",
        "tests/ops/test_number_formats.py",
    ),
    Mutant(
        "kernels/math/alif.h", "the adaptation's gradient with the membrane's decay",
        "carry.a = adaptation_decay * carry.a", "carry.a = decay * carry.a",
        "tests/ops/test_alif.py tests/ops/test_gradcheck.py",
    ),
    Mutant(
        "kernels/math/clamped.h", "clamped neurons fire at their threshold",
        "const bool fires = v > threshold;", "const bool fires = v >= threshold;",
        "tests/ops/test_clamped.py",
    ),
    Mutant(
        "kernels/math/convex.h", "the whole boundary forgotten, not its share",
        "(boundary - wanted) - p.forgetting * boundary", "(boundary - wanted) - p.forgetting * (boundary - wanted)",
        "tests/ops/test_convex.py",
    ),
    Mutant(
        "kernels/math/encode.h", "latencies cut off, not rounded",
        "* S(T - 1) + S(0.5))", "* S(T - 1))",
        "tests/ops/test_encode.py",
    ),
    # --- kernels/cpu
    Mutant(
        "kernels/cpu/walk_back.h", "segments begin anew from the initial state",
        "if (segment) rows.initial = read_only(tile.border(segment));", "if (segment > 1) rows.initial = read_only(tile.border(segment));",
        "tests/ops/test_long_sequences.py",
    ),
    Mutant(
        "kernels/cpu/walk_back.h", "the weights of a rate take one decay too many",
        "      if (weighted) multiply_row(rows.fixed.row[0], tile.rate_weight, n);\n",
        "      if (w.grad_rate) multiply_row(rows.fixed.row[0], tile.rate_weight, n);\n",
        "tests/ops/test_lif_rate.py",
    ),
    Mutant(
        "kernels/cpu/event_matmul.cpp", "every group of columns begins with the bias of the first",
        "static_cast<const S*>(a_.bias)[first_column_ + j]", "static_cast<const S*>(a_.bias)[j]",
        "tests/ops/test_event_matmul.py",
    ),
    Mutant(
        "kernels/cpu/event_conv.cpp", "the test for silence looks at all but the last of a block",
        "for (int64_t i = 0; i < kBlock; ++i) any |= block[i] != S(0);", "for (int64_t i = 0; i < kBlock - 1; ++i) any |= block[i] != S(0);",
        "tests/ops/test_event_conv.py",
    ),
    Mutant(
        "kernels/cpu/encode.cpp", "random numbers counted from the thread's share on",
        "uint64_t(n0 + i), uint64_t(t / 4)", "uint64_t(n0 - begin + i), uint64_t(t / 4)",
        "tests/ops/test_reproducibility.py -k test_thr",
    ),
    Mutant(
        "kernels/cpu/rows.h", "a share that begins within a channel takes all of it",
        "left = inner - n0 % inner", "left = inner",
        "tests/ops/test_clamped.py tests/ops/test_reproducibility.py -k 'clamped or test_thr'",
    ),
    Mutant(
        "kernels/cpu/local.cpp", "labels beyond the first tile of classes",
        "a.labels[sample] < 0 ? -1 : a.labels[sample] - k0", "a.labels[sample]",
        "tests/ops/test_local.py -k many_classes",
    ),
    Mutant(
        "kernels/cpu/convex.cpp", "the last of several neurons that are as far beyond fires",
        "  int64_t n = 0;\n  while (v[n] - thresholds[n] != best) ++n;", "  int64_t n = N - 1;\n  while (v[n] - thresholds[n] != best) --n;",
        "tests/ops/test_convex.py",
    ),
    Mutant(
        "kernels/cpu/feedback.cpp", "a current for all steps read as one per step",
        "a.current && a.current_per_step ? a.N : 0", "a.current ? a.N : 0",
        "tests/ops/test_feedback.py tests/ops/test_guarded_memory.py",
    ),
    Mutant(
        "kernels/cpu/reduce.cpp", "lanes added up in reverse order",
        "for (int l = 0; l < kRowSumLanes; ++l) sum += lanes[l];", "for (int l = kRowSumLanes; l-- > 0;) sum += lanes[l];",
        "tests/ops/test_reduce.py",
    ),
    # --- kernels/cuda
    Mutant(
        "kernels/cuda/lif_backward.cu", "grad_spikes left out of the alignment",
        "n.v_init, a.grad_spikes, a.grad_rate,", "n.v_init, a.grad_rate,",
        "tests/cuda/test_one_pointer_misaligned.py -k lif",
    ),
    Mutant(
        "kernels/cuda/tssl_bp.cu", "the output of the backward pass left out of the alignment",
        "{n.x, a.grad_psc, a.grad_x, scratch}", "{n.x, a.grad_psc, scratch}",
        "tests/cuda/test_one_pointer_misaligned.py -k tssl_bp",
    ),
    Mutant(
        "kernels/cuda/feedback.cu", "the factor left out of the alignment",
        "{a.drive, a.current, a.factor, a.membrane,", "{a.drive, a.current, a.membrane,",
        "tests/cuda/test_one_pointer_misaligned.py -k step_",
    ),
    Mutant(
        "kernels/cuda/tssl_bp.cu", "a neuron that fires and is quiet takes the slope of firing",
        "if (params_.theta_s > S(1) && quiet && fires(u)) {", "if (params_.theta_s > S(2) && quiet && fires(u)) {",
        "tests/cuda/test_walk_back.py -k tssl_bp",
    ),
    Mutant(
        "kernels/cuda/walk_back.hpp", "scratch of the states one segment apart",
        "(int64_t(n) * (segments - 1) + segment) * N", "(int64_t(n) * segments + segment) * N",
        "tests/cuda/test_walk_back.py -k 'borders and 257'",
    ),
    Mutant(
        "kernels/cuda/walk_back.hpp", "long segments on devices with little shared memory",
        "gpu::current_device().shared_bytes >= kSegment * kThreads * kMostBytesPerStep ? kSegment : kSmallSegment", "kSegment",
        "tests/cuda/test_walk_back.py -k little_shared",
    ),
    Mutant(
        "kernels/cuda/convex.cu", "state in shared memory beyond what a launch has",
        "constexpr int64_t kSharedBytes = 40 << 10;", "constexpr int64_t kSharedBytes = 50 << 10;",
        "tests/cuda/test_convex.py -k shared",
    ),
    Mutant(
        "kernels/cuda/convex.cu", "a tile of inputs overwritten while others still read it",
        "    __syncthreads();\n    for (int k = threadIdx.x; k < count;", "    for (int k = threadIdx.x; k < count;",
        "tests/cuda/test_convex.py -k more_inputs",
    ),
    Mutant(
        "kernels/cuda/local.cu", "classes beyond the last read a weight",
        "exists ? first : a.U; u < a.U", "first; u < a.U",
        "tests/ops/test_guarded_memory.py -k cuda",
    ),
    Mutant(
        "kernels/cuda/pack.cu", "the last word read in full",
        "return left < kSpikesPerWord ? left : kSpikesPerWord;", "return kSpikesPerWord;",
        "tests/cuda/test_kernels.py -k spike_formats",
    ),
    Mutant(
        "kernels/cuda/channel_sums.hpp", "the next channel after the last is not the first",
        "channel = channel + 1 == C ? 0 : channel + 1;", "channel = channel + 1;",
        "tests/cuda/test_kernels.py -k thresholds_of_runs",
    ),
    Mutant(
        "kernels/cuda/reduce.cu", "the last chunk taken as whole",
        "const int count = left < kChunk ? int(left) : kChunk;", "const int count = kChunk;",
        "tests/cuda/test_kernels.py -k row_sum",
    ),
    Mutant(
        "kernels/cuda/encode.cu", "the seed's lower half alone",
        "const uint64_t key = uint64_t(*args.seed);", "const uint64_t key = uint32_t(*args.seed);",
        "tests/cuda/test_kernels.py -k 'poisson and alignments'",
    ),
    # --- csrc
    Mutant(
        "csrc/lif_neuron.h", "what a spike takes away and where it resets to exchanged",
        "  neuron.reset_amount = numbers[3];\n  neuron.v_reset = numbers[4];", "  neuron.reset_amount = numbers[4];\n  neuron.v_reset = numbers[3];",
        "tests/ops/test_lif_options.py",
    ),
    Mutant(
        "csrc/common.h", "one time step of any stride copied",
        "!has_time || T == 1 || x.stride(0) == N", "!has_time || x.stride(0) == N",
        "tests/ops/test_one_time_step.py",
    ),
    Mutant(
        "csrc/in_place.h", "a sequence of one step refused for its stride",
        "return time_axes == 0 || T_ == 1 || strides[0] == N_;", "return time_axes == 0 || strides[0] == N_;",
        "tests/ops/test_one_time_step.py",
    ),
)  # fmt: skip
