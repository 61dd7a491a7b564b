"""Wrong changes to the pipeline: data, training, methods, models, reports."""

from mutation.mutant import Mutant

_DATA = "tests/spiketrain/test_data_values.py"
_STEPS = "tests/spiketrain/test_steps_by_hand.py"
_PROCESSES = "tests/spiketrain/test_processes_by_hand.py"

MUTANTS = (
    # --- data
    Mutant(
        "python/spiketrain/data/listing.py", "links followed before the folders that they lead to",
        "            if is_link:\n", "            if False:\n",
        "tests/spiketrain/test_listing.py -k link",
    ),
    Mutant(
        "python/spiketrain/data/cifar.py", "digits of a standard deviation swapped",
        """        classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),""",
        """        classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2032, 0.1994, 0.2010),""",
        _DATA,
    ),
    Mutant(
        "python/spiketrain/data/cifar.py", "coarse labels for the fine ones",
        'label_key="fine_labels"', 'label_key="coarse_labels"',
        _DATA,
    ),
    Mutant(
        "python/spiketrain/data/mnist.py", "the test split augmented too",
        '_split(folder, "t10k", False)', '_split(folder, "t10k", config.data.augment)',
        _DATA,
    ),
    Mutant(
        "python/spiketrain/data/svhn.py", "rows and columns exchanged",
        "images.transpose(3, 2, 0, 1)", "images.transpose(3, 2, 1, 0)",
        _DATA,
    ),
    Mutant(
        "python/spiketrain/data/base.py", "mirrored about the neighbouring column",
        "torch.where(mirrored.bool(), width - 1 - columns, columns)", "torch.where(mirrored.bool(), (width - columns) % width, columns)",
        _DATA,
    ),
    Mutant(
        "python/spiketrain/data/base.py", "crops never reach the far border",
        "torch.randint(0, 2 * border + 1, (2, n)", "torch.randint(0, 2 * border, (2, n)",
        _DATA,
    ),
    Mutant(
        "python/spiketrain/data/base.py", "all processes augment alike",
        "manual_seed(seed + self.rank)", "manual_seed(seed)",
        _DATA,
    ),
    Mutant(
        "python/spiketrain/data/base.py", "shares of a batch in blocks that leave out the rest",
        "[self.rank :: self.world_size]",
        "[self.rank * (self.batch_size // self.world_size) :][: max(1, self.batch_size // self.world_size)]",
        _DATA,
    ),
    Mutant(
        "python/spiketrain/data/imagefolder.py", "standard deviation over n - 1",
        "std(dim=(0, 2, 3), correction=0)", "std(dim=(0, 2, 3), correction=1)",
        _DATA,
    ),
    Mutant(
        "python/spiketrain/data/nmnist.py", "the last of the time steps kept in the one before",
        "np.ceil(time / bin_us) - 1, 0, time_steps)", "np.ceil(time / bin_us) - 1, 0, time_steps - 1)",
        "tests/spiketrain/test_nmnist.py",
    ),
    Mutant(
        "python/spiketrain/data/cifar10_dvs.py", "events left over make a frame of their own",
        "np.minimum(np.arange(len(row)) // per_frame, last)", "(np.arange(len(row)) // per_frame) % FRAMES",
        "tests/spiketrain/test_cifar10_dvs.py",
    ),
    Mutant(
        "python/spiketrain/data/pixels.py", "16 bits cut to the lower byte",
        "(4 if is_12_bits else 8)", "(4 if is_12_bits else 0)",
        "tests/spiketrain/test_pixels.py",
    ),
    Mutant(
        "python/spiketrain/data/surfaces.py", "training points in the positive square only",
        "points = 2 * torch.rand(TRAINING_POINTS, 2, generator=torch.Generator().manual_seed(POINTS_SEED)) - 1",
        "points = torch.rand(TRAINING_POINTS, 2, generator=torch.Generator().manual_seed(POINTS_SEED))",
        _DATA,
    ),
    Mutant(
        "python/spiketrain/data/surfaces.py", "the published surface tested on the coarse grid",
        "points.select(torch.arange(len(points)))", "points.over_grid()",
        _DATA,
    ),
    Mutant(
        "python/spiketrain/data/class_names.py", "two classes exchanged",
        '"shirt", "sneaker"', '"sneaker", "shirt"',
        _DATA,
    ),
    Mutant(
        "python/spiketrain/data/tasks.py", "root of each output's error averaged, not of the mean square",
        "(sum(squares) / len(squares)) ** 0.5", "sum(of_outputs.values()) / len(squares)",
        "tests/spiketrain/test_convex.py -k tasks",
    ),
    # --- training
    Mutant(
        "python/spiketrain/training/captured_steps.py", "a graph serves another learning rate",
        "if graph is not None and graph.key == key:", "if graph is not None:",
        "tests/spiketrain/test_captured_steps.py",
    ),
    Mutant(
        "python/spiketrain/training/captured_steps.py", "replays are not counted",
        "            self._method.steps += 1\n            return result", "            return result",
        "tests/spiketrain/test_captured_steps.py",
    ),
    Mutant(
        "python/spiketrain/training/captured_steps.py", "a step whose capture failed is counted twice",
        "            self._method.steps = steps\n            raise", "            raise",
        "tests/spiketrain/test_captured_steps.py",
    ),
    Mutant(
        "python/spiketrain/training/trainer.py", "a short last batch divided by a full one's size",
        "batch_size=min(size, count - progress.steps * size)", "batch_size=size",
        _STEPS,
    ),
    Mutant(
        "python/spiketrain/training/trainer.py", "training accuracy over whole batches",
        "self.task.figures(progress.correct, count)", "self.task.figures(progress.correct, progress.steps * size)",
        _STEPS,
    ),
    Mutant(
        "python/spiketrain/training/trainer.py", "the test goes on from the run's random numbers",
        "        torch.manual_seed(seed)\n        try:", "        try:",
        "tests/spiketrain/test_feedback_training.py -k seed_of_the_run",
    ),
    Mutant(
        "python/spiketrain/training/progress.py", "mean loss over one step too many",
        "self.loss.item() / max(self.steps, 1)", "self.loss.item() / (self.steps + 1)",
        _STEPS,
    ),
    Mutant(
        "python/spiketrain/training/state.py", "the shuffling generator saved as it is in the middle of an epoch",
        'mine["random"]["batches"] = progress.shuffling', 'mine["random"]["batches"] = shuffling.get_state()',
        "tests/spiketrain/test_resume.py -k 'within_each_epoch and bptt'",
    ),
    Mutant(
        "python/spiketrain/training/pipeline/channel.py", "spikes arrive in the order of their axes, not of memory",
        "sent.permute(axes).contiguous()", "sent.contiguous()",
        "tests/spiketrain/test_pipeline.py -k same_weights",
    ),
    Mutant(
        "python/spiketrain/training/pipeline/driver.py", "stages are sent the layers before the epoch's rate is set",
        '{"epoch": epoch, "state"', '{"epoch": epoch - 1, "state"',
        "tests/spiketrain/test_pipeline.py -k same_weights",
    ),
    Mutant(
        "python/spiketrain/distributed/gradients.py", "gradients averaged, not added up",
        "            work.wait()\n", "            work.wait()\n            flat /= group.world_size()\n",
        _PROCESSES,
    ),
    Mutant(
        "python/spiketrain/distributed/gradients.py", "weights that no process has used get a gradient of 0",
        "            if processes == 0:\n", "            if processes < 0:\n",
        "tests/spiketrain/test_together.py -k early",
    ),
    # --- methods
    Mutant(
        "python/spiketrain/methods/base/schedules.py", "cosine one epoch early",
        "math.cos(math.pi * (epoch - 1) / epochs)", "math.cos(math.pi * epoch / epochs)",
        "tests/spiketrain/test_schedules.py",
    ),
    Mutant(
        "python/spiketrain/methods/base/schedules.py", "milestones one epoch early",
        "sum(epoch > milestone for", "sum(epoch >= milestone for",
        "tests/spiketrain/test_schedules.py",
    ),
    Mutant(
        "python/spiketrain/methods/base/schedules.py", "warm-up begins at 0",
        "min(1.0, step / options.warmup_steps)", "min(1.0, (step - 1) / options.warmup_steps)",
        "tests/spiketrain/test_schedules.py",
    ),
    Mutant(
        "python/spiketrain/methods/base/layerwise.py", "no warm-up of layers that learn on their own",
        "rate = self._rate_of(self.steps)\n        self.network.train()",
        "rate = self.rate\n        self.network.train()",
        "tests/spiketrain/test_schedules.py -k 'updates and ell'",
    ),
    Mutant(
        "python/spiketrain/methods/base/optimizers.py", "clipped before the processes' gradients are added up",
        """    gradients.add_up()
    if options.clip_norm:
        nn.utils.clip_grad_norm_(gradients.parameters, options.clip_norm)
""",
        """    if options.clip_norm:
        nn.utils.clip_grad_norm_(gradients.parameters, options.clip_norm)
    gradients.add_up()
""",
        _PROCESSES,
    ),
    Mutant(
        "python/spiketrain/methods/base/optimizers.py", "weights clamped before the step",
        """    optimizer.step()
    if options.weight_clamp:
        with torch.no_grad():
            for weight in optimizer.param_groups[0]["params"]:
                if weight.requires_grad:
                    weight.clamp_(-options.weight_clamp, options.weight_clamp)
""",
        """    if options.weight_clamp:
        with torch.no_grad():
            for weight in optimizer.param_groups[0]["params"]:
                if weight.requires_grad:
                    weight.clamp_(-options.weight_clamp, options.weight_clamp)
    optimizer.step()
""",
        _STEPS,
    ),
    Mutant(
        "python/spiketrain/methods/base/gradient.py", "learning rate not divided by the scale of the loss",
        "warm_up(self.config.optimizer, step) / self.loss_scale", "warm_up(self.config.optimizer, step)",
        f"{_STEPS} -k spide",
    ),
    Mutant(
        "python/spiketrain/methods/base/losses.py", "softmax loss a mean over the process's share",
        'F.cross_entropy(scores, labels, reduction="sum") / batch_size', "F.cross_entropy(scores, labels)",
        _PROCESSES,
    ),
    Mutant(
        "python/spiketrain/methods/base/losses.py", "the wanted train filtered once",
        "SF.synaptic_filter(SF.synaptic_filter(train, tau_s), tau_s)", "SF.synaptic_filter(train, tau_s)",
        "tests/spiketrain/test_golden_tssl_bp_training.py -k losses",
    ),
    Mutant(
        "python/spiketrain/methods/base/gradient.py", "an empty share of a batch takes no step",
        """        self.update_weights()
        return StepResult(torch.zeros((), device=self.device)""",
        """        return StepResult(torch.zeros((), device=self.device)""",
        _PROCESSES,
    ),
    Mutant(
        "python/spiketrain/distributed/batch_norm.py", "statistics of batch-norms added up, not averaged",
        "            tensor /= processes\n", "            tensor /= 1\n",
        "tests/spiketrain/test_module_networks.py -k statistics",
    ),
    Mutant(
        "python/spiketrain/training/trainer.py", "statistics of processes without a sample averaged in",
        "has_samples=distributed.rank() < min(size, count)", "has_samples=True",
        "tests/spiketrain/test_together.py -k never",
    ),
    Mutant(
        "python/spiketrain/methods/base/feedback.py", "rates averaged over steps, not samples",
        "self.measured.get(name, 0) + value * len(labels)", "self.measured.get(name, 0) + value * self.config.trainer.batch_size",
        _STEPS,
    ),
    Mutant(
        "python/spiketrain/methods/base/local_classifiers.py", "loss over the process's share of the batch",
        "labels, self.optimizers[name], batch_size)", "labels, self.optimizers[name])",
        _PROCESSES,
    ),
    Mutant(
        "python/spiketrain/methods/convex.py", "rates decay before the first epoch",
        "self.options.rate_decay ** (epoch - 1)", "self.options.rate_decay ** epoch",
        "tests/spiketrain/test_schedules.py -k convex",
    ),
    # --- models
    Mutant(
        "python/spiketrain/models/layers.py", "dropout drawn anew in each time step",
        "torch.ones_like(x[0]), self.p)", "torch.ones_like(x), self.p)",
        "tests/spiketrain/test_network.py",
    ),
    Mutant(
        "python/spiketrain/models/synapses.py", "synapses to the zero padding counted",
        "return F.conv2d(ways, kernel, None, module.stride, module.padding, module.dilation), module.out_channels",
        "return F.conv2d(F.pad(ways, [p for p in module.padding[::-1] for _ in 'ab'], value=1), kernel, None, module.stride, 0, module.dilation), module.out_channels",
        "tests/spiketrain/test_synapses.py",
    ),
    # --- reports
    Mutant(
        "python/spiketrain/reports/confusion.py", "rows and columns exchanged",
        "labels * (classes + 1) + predicted", "predicted * classes + labels",
        "tests/spiketrain/test_confusion.py -k 'counts_rows or picture_says'",
    ),
    Mutant(
        "python/spiketrain/reports/confusion.py", "mean over the samples for that over the classes",
        "np.nanmean(np.diagonal(shares))", "np.trace(table) / samples",
        "tests/spiketrain/test_confusion.py -k 'counts_rows or picture_says'",
    ),
    Mutant(
        "python/spiketrain/reports/rates.py", "a short last batch counts as much as the others",
        "sum(value * samples for value, (samples, _) in zip(values, batches)) / total", "sum(values) / len(values)",
        "tests/spiketrain/test_rates.py",
    ),
    Mutant(
        "python/spiketrain/reports/rates.py", "average over layers, not neurons",
        "getattr(layer, kind) * layer.neurons for layer in activity.layers)", "getattr(layer, kind) * neurons / len(activity.layers) for layer in activity.layers)",
        "tests/spiketrain/test_rates.py",
    ),
    Mutant(
        "python/spiketrain/methods/base/activity.py", "input events of one time step only",
        "self.input_synapses * self.input_rate * self.time_steps", "self.input_synapses * self.input_rate",
        "tests/spiketrain/test_rates.py",
    ),
    Mutant(
        "python/spiketrain/methods/base/operations.py", "two spikes that were added up counted as one",
        "additions = spikes.sum().item() * module.out_features", "additions = spikes.count_nonzero().item() * module.out_features",
        "tests/spiketrain/test_operations.py",
    ),
    Mutant(
        "python/spiketrain/data/validation.py", "validation samples are trained on, too",
        "dataset.train.select(validation), dataset.train.select(train)", "dataset.train.select(validation), dataset.train",
        "tests/spiketrain/test_validation.py",
    ),
    Mutant(
        "python/spiketrain/training/trainer.py", "the last epoch's weights tested in the place of the best one's",
        'state.load_method(self.method, content["method"])\n            try', "pass\n            try",
        "tests/spiketrain/test_validation.py",
    ),
)  # fmt: skip
