// Trials of the convex-optimisation network: each step costs O(neurons), unless the input changes. A loop of its own, not
// the walk's (walk.h): in each step one neuron of all may fire, and the others feel it.
#include "../math/convex.h"
#include "common.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

constexpr int kLanes = 16;
constexpr int kStepsPerDraw = 4;

// The neuron with the largest v - threshold if that is not negative, the first one of several; else -1.
template <class S>
int64_t winner(const S* __restrict v, const S* __restrict thresholds, int64_t N) {
  S largest[kLanes];
  for (int l = 0; l < kLanes; ++l) largest[l] = -std::numeric_limits<S>::infinity();
  const int64_t whole = N / kLanes * kLanes;
  for (int64_t n = 0; n < whole; n += kLanes)
    for (int l = 0; l < kLanes; ++l) {
      const S excess = v[n + l] - thresholds[n + l];
      largest[l] = excess > largest[l] ? excess : largest[l];
    }
  for (int64_t n = whole; n < N; ++n) {
    const S excess = v[n] - thresholds[n];
    largest[0] = excess > largest[0] ? excess : largest[0];
  }
  S best = largest[0];
  for (int l = 1; l < kLanes; ++l) best = largest[l] > best ? largest[l] : best;
  if (!(best >= S(0))) return -1;
  int64_t n = 0;
  while (v[n] - thresholds[n] != best) ++n;
  return n;
}

template <class S>
class Network {
 public:
  explicit Network(const ConvexTrials& args)
      : a_(args),
        p_(convex_params<S>(args)),
        feedforward_(static_cast<S*>(args.feedforward)),
        thresholds_(static_cast<S*>(args.thresholds)),
        v_(args.N),
        drive_(args.N),
        command_(args.K),
        normal_(args.seed ? kStepsPerDraw * args.N : 1) {}

  void run(int64_t trial) {
    const bool learns = a_.targets != nullptr;
    for (int64_t n = 0; n < a_.N; ++n) v_.data[n] = drive_.data[n] = 0;
    for (int64_t k = 0; k < a_.K; ++k) command_.data[k] = 0;
    S* y = static_cast<S*>(a_.readout) + trial * a_.M;
    for (int64_t m = 0; m < a_.M; ++m) y[m] = 0;
    for (int64_t t = 0; t < a_.T; ++t) {
      const S* const x = static_cast<const S*>(a_.x) + (t * a_.B + trial) * a_.K;
      if (command(x, x + a_.B * a_.K)) find_drive();
      step_membranes(t, trial);
      const int64_t s = winner(v_.data, thresholds_, a_.N);
      a_.spikes[t * a_.B + trial] = int32_t(s);
      if (s >= 0) spike(s);
      read_out(y, y + a_.B * a_.M, s);
      y += a_.B * a_.M;
      if (learns && t >= a_.buffer_steps) learn(s, x, trial);
    }
  }

 private:
  // True if it is not the same as in the step before.
  bool command(const S* __restrict x, const S* __restrict x_next) {
    S* __restrict command = command_.data;
    int differing = 0;
    for (int64_t k = 0; k < a_.K; ++k) {
      const S wanted = convex_command(x[k], x_next[k], p_);
      differing |= wanted != command[k];
      command[k] = wanted;
    }
    return differing != 0;
  }

  // Summed in the order of the inputs. An input that asks for nothing is left out, whatever its weights.
  void find_drive() {
    S* __restrict drive = drive_.data;
    for (int64_t n = 0; n < a_.N; ++n) drive[n] = 0;
    for (int64_t k = 0; k < a_.K; ++k) {
      const S command = command_.data[k];
      if (command == S(0)) continue;
      const S* __restrict weights = feedforward_ + k * a_.N;
      for (int64_t n = 0; n < a_.N; ++n) drive[n] += weights[n] * command;
    }
  }

  void step_membranes(int64_t t, int64_t trial) {
    S* __restrict v = v_.data;
    const S* __restrict drive = drive_.data;
    const ConvexParams<S> p = p_;
    for (int64_t n = 0; n < a_.N; ++n) v[n] = convex_membrane(v[n], drive[n], p);
    const S* __restrict normal = noise(t, trial);
    if (normal == nullptr) return;
    for (int64_t n = 0; n < a_.N; ++n) v[n] += p.noise_scale * normal[n];
  }

  const S* noise(int64_t t, int64_t trial) {
    if (a_.noise != nullptr) return static_cast<const S*>(a_.noise) + (t * a_.B + trial) * a_.N;
    if (a_.seed == nullptr) return nullptr;
    if (t % kStepsPerDraw == 0)
      for (int64_t n = 0; n < a_.N; ++n) {
        const Philox4 random = convex_noise(uint64_t(*a_.seed), trial, a_.N, n, t / kStepsPerDraw);
        for (int k = 0; k < kStepsPerDraw; ++k) normal_.data[k * a_.N + n] = S(standard_normal(random.v[k]));
      }
    return normal_.data + t % kStepsPerDraw * a_.N;
  }

  void spike(int64_t s) {
    S* __restrict v = v_.data;
    const S* __restrict recurrent = static_cast<const S*>(a_.recurrent) + s * a_.N;
    v[s] -= p_.spike_cost;
    for (int64_t n = 0; n < a_.N; ++n) v[n] += recurrent[n];
  }

  void read_out(const S* __restrict y, S* __restrict next, int64_t s) {
    const ConvexParams<S> p = p_;
    if (a_.decoder != nullptr && s >= 0) {
      const S* __restrict weights = static_cast<const S*>(a_.decoder) + s * a_.M;
      for (int64_t m = 0; m < a_.M; ++m) next[m] = convex_readout(y[m], weights[m], p);
      return;
    }
    for (int64_t m = 0; m < a_.M; ++m) next[m] = convex_readout(y[m], S(0), p);
    if (s >= 0) next[s] = convex_readout(y[s], S(1), p);
  }

  // The neuron that fired moves its boundary F x - threshold = G y towards the wanted point.
  void learn(int64_t s, const S* __restrict x, int64_t trial) {
    if (s >= 0) {
      S* __restrict row = static_cast<S*>(a_.feedforward_rows) + s * a_.K;
      const S* __restrict encoder = static_cast<const S*>(a_.encoder) + s * a_.Y;
      const S* __restrict target = static_cast<const S*>(a_.targets) + trial * a_.Y;
      S reached = 0, wanted = 0;
      for (int64_t k = 0; k < a_.K; ++k) reached += row[k] * x[k];
      for (int64_t m = 0; m < a_.Y; ++m) wanted += encoder[m] * target[m];
      const S error = convex_error(reached, thresholds_[s], wanted, p_);
      thresholds_[s] += p_.threshold_rate * error;
      const S scale = p_.feedforward_rate * error;
      S drive = 0;
      for (int64_t k = 0; k < a_.K; ++k) {
        row[k] -= scale * x[k];
        feedforward_[k * a_.N + s] = row[k];
        if (command_.data[k] != S(0)) drive += row[k] * command_.data[k];
      }
      drive_.data[s] = drive;
    }
    const S step = p_.threshold_step;
    for (int64_t n = 0; n < a_.N; ++n) thresholds_[n] -= step;
  }

  const ConvexTrials a_;
  const ConvexParams<S> p_;
  S* const feedforward_;
  S* const thresholds_;
  Scratch<S> v_, drive_, command_, normal_;
};

}  // namespace

void convex_snn_trial(const ConvexTrials& args, int64_t begin, int64_t end) {
  const auto run = [&](auto zero) {
    Network<decltype(zero)> network(args);
    for (int64_t trial = begin; trial < end; ++trial) network.run(trial);
  };
  return args.dtype == DType::f64 ? run(double{}) : run(float{});
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
