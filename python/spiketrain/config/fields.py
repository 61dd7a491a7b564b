"""The fields of a configuration, in typed sections. The section `method` is an options class that its method owns."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from spiketrain.config.bounds import Bounds, FileName, Folder

Count = Annotated[int, Bounds(above=0)]
CountOrNone = Annotated[int, Bounds(at_least=0)]
Positive = Annotated[float, Bounds(above=0)]
NotNegative = Annotated[float, Bounds(at_least=0)]
UpToOne = Annotated[float, Bounds(at_least=0, at_most=1)]
UpToOneNotZero = Annotated[float, Bounds(above=0, at_most=1)]
Share = Annotated[float, Bounds(at_least=0, below=1)]
Padding = Annotated[int, Bounds(at_least=0, at_most=1000)]
Side = Annotated[int, Bounds(above=0, at_most=16_384)]
Percent = Annotated[float, Bounds(at_least=0, at_most=100)]


@dataclass
class DataConfig:
    """Which data set, and how its samples are fed.

    Args:
        name: data set: digits, mnist, fashion_mnist, cifar10, cifar100, svhn, imagefolder, nmnist, cifar10_dvs, shd, ssc, dvs-gesture,
            ncaltech101, events, surfaces, paraboloid, that of an installed package, or package.module:function (docs/extend/data.md)
        root: folder that holds the data; default $SPIKEOPS_DATA, else ~/.cache/spikeops
        download: fetch a missing data set into the root (where its makers offer a download)
        augment: random crop out of a zero border, and random horizontal flip of training images (of frames of cifar10_dvs the crop alone)
        augment_border: width of that border in pixels
        augment_flip: whether images are flipped; false only crops them
        normalize: shift and scale images to mean 0 and standard deviation 1 per channel, over the training set; false leaves pixels in 0..1
        mean: what normalize subtracts from pixels in 0..1, one number per channel, together with std; default the data set's
        std: what normalize divides by then
        image_size: side to which the images of an imagefolder, or the frames of cifar10_dvs, are resized, in pixels
        bin_ms: width of a time step of nmnist, in milliseconds
        empty_last_step: leave the last time step of nmnist without events, as the published readers of TSSL-BP and IDE do
        sensor: width and height in pixels of the sensor of events; default what its files say, or else the smallest that holds the training events
        duration_ms: how much of a recording of shd, ssc, dvs-gesture, ncaltech101 or events is cut into the time steps, in milliseconds;
            default 1400 for shd and ssc, all of a recording for others
        cut: whether those time steps are of equal time, or of equal count (numbers of events, the rest in the last one)
        crop: width and height in pixels of the middle of the sensor that is kept of them; default all of it
        downsample: side in pixels of the squares of the sensor whose events become those of one pixel
        merge_polarities: whether events of both polarities become those of one channel
        counts: feed how many events fall into a pixel and time step; false feeds 1 where there are any
        validation: share (0.1) or number (5000) of the training samples, drawn by the seed in proportion to the classes, that are not trained
            on: the best epoch is chosen by them, and the test set is looked at once, for that epoch; 0: it is chosen by the test set
    """

    name: str = "digits"
    root: Annotated[str, Folder()] | None = None
    download: bool = False
    augment: bool = False
    augment_border: Padding = 4
    augment_flip: bool = True
    normalize: bool = True
    mean: list[float] | None = None
    std: list[Positive] | None = None
    image_size: Side = 32
    bin_ms: Positive = 3.0
    empty_last_step: bool = False
    sensor: tuple[Side, Side] | None = None
    duration_ms: Annotated[float, Bounds(at_least=0.001)] | None = None
    cut: Literal["time", "count"] = "time"
    crop: tuple[Side, Side] | None = None
    downsample: Side = 1
    merge_polarities: bool = False
    counts: bool = True
    validation: CountOrNone | Share = 0


@dataclass
class NetworkConfig:
    """The network, in the notation of the papers or by the name of a model.

    Args:
        layers: for example 15C5-P2-40C5-P2-300-10: 15 channels of 5x5 convolution, pooling over 2x2, ..., 10 outputs; 15C5s: stride 2;
            128R, for bptt: 128 recurrent neurons, each with weights to each, 128R1: each with a weight to itself; also for bptt: AP2, MP2:
            average, maximum pooling; 64C3-BN: batch norm before the neurons; (64C3-BN-64C3-BN)+: residual block, its spikes added to
            what it got, (64C3-BN-64C3-BN+): added before its last neurons fire
        feedback: from the last layer of neurons back to the first, for ide and spide: 64C5, 96C3u (upsampling by 2) or 400; empty: none
        padding: zero padding of the convolutions, one number for all or a list with one for each, that of the feedback last
        conv_weight_scale: factor on the initial convolution weights
        linear_weight_scale: factor on the initial weights of fully connected layers
        recurrent_weight_scale: factor on the initial weights within recurrent layers
        bias: whether convolutions and fully connected layers have one, but for those before a batch norm; for bptt (others have what their
            papers have)
        dropout: probability with which a unit is dropped (at all time steps alike) after each hidden layer; for ide and spide also
            a list, for what leads to each layer of neurons in their order, then the feedback
        dropout_kind: what is dropped at once: units, or rows of a map over their whole width (units after fully connected layers),
            as in the published code of TSSL-BP; for tssl_bp and bptt
        time_steps: number of simulated time steps T
        model: for bptt, a network by its name in the place of layers: sew_resnet18 (residual) or spikformer (transformer), with as many
            outputs as the data set has classes, an installed one, or package.module:function, which returns an nn.Module
            (docs/extend/network.md)
        width: of a model: channels of the first stage of sew_resnet18 (default 64), of each place of spikformer (384)
        depth: of a model: blocks in each of the four stages of sew_resnet18 (default 2), encoder blocks of spikformer (4)
        heads: of the self attention of spikformer; default 12
        stem: first layer of sew_resnet18: cifar, a 3x3 convolution (the default), or imagenet, a 7x7 one of stride 2 and max-pooling
    """

    layers: str = "10"
    feedback: str = ""
    padding: Padding | list[Padding] = 0
    conv_weight_scale: Positive = 1.0
    linear_weight_scale: Positive = 1.0
    recurrent_weight_scale: NotNegative = 1.0
    bias: bool = False
    dropout: Share | list[Share] = 0.0
    dropout_kind: Literal["units", "rows"] = "units"
    time_steps: Annotated[int, Bounds(above=0, at_most=100_000)] = 5
    model: str = ""
    width: Annotated[int, Bounds(above=0, at_most=65_536)] | None = None
    depth: Annotated[int, Bounds(above=0, at_most=1000)] | None = None
    heads: Annotated[int, Bounds(above=0, at_most=65_536)] | None = None
    stem: Literal["cifar", "imagenet"] | None = None

    of_models: ClassVar[tuple[str, ...]] = ("width", "depth", "heads", "stem")


@dataclass
class OptimizerConfig:
    """How the weights are updated.

    Args:
        name: update rule
        lr: learning rate
        weight_decay: decay of the weights (decoupled for adamw); learned decays of neurons are none
        momentum: momentum of sgd
        betas: moment decays of adam and adamw
        eps: guard against division by zero in adam and adamw
        clip_norm: largest global L2 norm of the gradient; 0 turns clipping off
        weight_clamp: weights, but for learned decays, are kept in [-weight_clamp, weight_clamp] after each step; 0 turns that off
        schedule: learning rate over the epochs: constant, cosine to zero, or multiplied by gamma at each milestone
        milestones: epochs at which the multistep schedule lowers the learning rate
        gamma: factor of the multistep schedule
        warmup_steps: training steps over which the learning rate rises linearly to that of the schedule; 0 for none
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: NotNegative = 5e-4
    weight_decay: NotNegative = 0.01
    momentum: Share = 0.9
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: NotNegative = 1e-8
    clip_norm: NotNegative = 0.0
    weight_clamp: NotNegative = 0.0
    schedule: Literal["constant", "cosine", "multistep"] = "constant"
    milestones: list[Count] = field(default_factory=list)
    gamma: UpToOne = 0.1
    warmup_steps: CountOrNone = 0


@dataclass
class TrainerConfig:
    """The loop around the method.

    Args:
        epochs: passes over the training set
        batch_size: samples per training step, over all processes together
        eval_batch_size: samples per step when testing
        limit_train: use only so many training samples, evenly spread over the set; 0 uses all
        limit_test: use only so many test samples; 0 uses all
        device: cpu, cuda, cuda:N, or auto: cuda where there is a GPU that our kernels serve, else cpu
        precision: float32, or bfloat16 to run convolutions and linear layers under autocast
        cuda_graphs: on a GPU, replay training steps as CUDA graphs: auto for methods and networks of spiketrain, on for networks from
            outside, too, which must do the same in every step but for the values of tensors; off for none (ide and spide have graphs of
            their own, of their time loops)
        threads: CPU threads; 0 leaves the choice to PyTorch
        sync_batch_norm: of several processes, whether batch norms normalise by the whole batch (as torch.nn.SyncBatchNorm), so that the run
            computes what one process would; false: each by its own part, and running statistics are averaged
        lost_seconds: of several processes, how long one may give no sign of life before the others end with its name; 0: for ever
        pipeline: processes that train at the same time, each some of the layers; for methods whose layers learn on their own
        checkpoint_minutes: save a checkpoint in the middle of an epoch, too, so many minutes after the last one and when interrupted; 0: never
        out: run directory; default runs/<preset>-<n>, the first n that is free
        progress: show a progress bar: auto shows it on a terminal only
    """

    epochs: Count = 10
    batch_size: Count = 50
    eval_batch_size: Count = 500
    limit_train: CountOrNone = 0
    limit_test: CountOrNone = 0
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    cuda_graphs: Literal["auto", "on", "off"] = "auto"
    threads: Annotated[int, Bounds(at_least=0, at_most=1024)] = 0
    sync_batch_norm: bool = False
    lost_seconds: NotNegative = 60.0
    pipeline: Count = 1
    checkpoint_minutes: NotNegative = 0.0
    out: Annotated[str, Folder()] | None = None
    progress: Literal["auto", "on", "off"] = "auto"


@dataclass
class Published:
    """The test accuracy of the published experiment, in percent.

    Args:
        mean: mean over the published runs
        std: their standard deviation
        best: best published run
    """

    mean: Percent | None = None
    std: Percent | None = None
    best: Percent | None = None


@dataclass
class Config:
    """Everything that defines a run.

    Args:
        preset: name of the preset, kept for the record; the run directory is called after it
        about: one line on the experiment
        published: the figures of the published experiment
        departs: in what the preset departs from the published experiment: for each field with another value than there, or of which
            nothing is known, "field: what it is there"; "field, field: ..." for several, a section for what no field says
        seed: seed of weights, shuffling, dropout and augmentation
        init: weights to begin with instead of random ones: a run directory (its best epoch), a checkpoint, or a file that the method's
            authors published
        data: the data set
        network: the network
        method: an instance of the options class of the method that it names
        optimizer: the update rule
        trainer: the loop
    """

    preset: Annotated[str, FileName()] = "custom"
    about: str = ""
    published: Published = field(default_factory=Published)
    departs: list[str] = field(default_factory=list)
    seed: Annotated[int, Bounds(at_least=0, at_most=2**64 - 1)] = 1
    init: Annotated[str, Folder()] | None = None
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    method: Any = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def to_dict(self) -> dict:
        """Plain dictionaries, lists and scalars: what config.yaml and the checkpoints hold."""
        return _plain(dataclasses.asdict(self))


def _plain(value: Any) -> Any:
    """`value` with lists in the place of tuples, which YAML and checkpoints do not know."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
