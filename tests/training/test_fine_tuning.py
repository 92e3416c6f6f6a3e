"""Fine-tuning: a slower body, frozen epochs, the normalization of pretrained weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.core.rng import generator
from noisylabels.data.images import image_set
from noisylabels.models.normalization import normalization_of, set_normalization
from noisylabels.training.fine_tuning import Body, last_layer
from noisylabels.training.method import Method
from noisylabels.training.optim import learning_rate
from noisylabels.training.update import Updater
from noisylabels.training.weights_file import read_model, save_model

K = 3


class Net(nn.Module):
    """A convolution with batch normalization, and a last layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, K)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def sets():
    pixels = torch.randint(
        0, 256, (60, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    labels = torch.arange(60) % K
    return tuple(
        image_set(pixels[part], labels[part], ("a", "b", "c")) for part in (slice(45), slice(45, 60))
    )


class Plain(Method):
    def step(self, batch):
        raise NotImplementedError


HOW = {"batch_size": 15, "lr": 0.1, "seed": 3, "device": "cpu"}


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_frozen_epochs_train_the_last_layer_alone(sets):
    model = Net()
    before = state(model)
    nl.fit(model, *sets, nn.CrossEntropyLoss(), epochs=2, frozen_epochs=2, **HOW)
    after = state(model)
    for name, value in before.items():
        same = torch.equal(value, after[name])
        assert same != name.startswith("fc."), name  # the statistics of batch normalization stay, too
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("batch_norm", ["auto", "train"])
def test_the_body_is_trained_after_them(sets, batch_norm):
    model = Net()
    before = state(model)
    nl.fit(model, *sets, nn.CrossEntropyLoss(), epochs=3, frozen_epochs=2, batch_norm=batch_norm, **HOW)
    for name, value in state(model).items():
        statistics = name.startswith(("norm.running", "norm.num"))
        assert torch.equal(value, before[name]) == (statistics and batch_norm == "auto"), name


def test_without_pretrained_weights_batches_have_their_statistics(sets):
    models = [Net(), Net()]
    for model, batch_norm in zip(models, ("auto", "train"), strict=True):
        nl.fit(model, *sets, nn.CrossEntropyLoss(), epochs=1, batch_norm=batch_norm, **HOW)
    for name, value in models[0].state_dict().items():
        assert torch.equal(models[1].state_dict()[name], value)
    assert models[0].norm.running_mean.abs().sum() > 0


def test_a_smaller_rate_of_the_body_is_that_of_its_own_optimizer(sets):
    """One step of SGD beside torch's own, with a group for the body."""
    model = Net()
    own = copy.deepcopy(model)
    settings = HOW | {"batch_size": 45, "epochs": 1, "weight_decay": 0.0, "momentum": 0.0}
    nl.fit(model, *sets, nn.CrossEntropyLoss(), body_lr=0.25, **settings)

    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in sets[0].mean_std())
    body = [*own.conv.parameters(), *own.norm.parameters()]
    groups = [{"params": body, "lr": 0.1 * 0.25}, {"params": list(own.fc.parameters()), "lr": 0.1}]
    optimizer = torch.optim.SGD(groups)
    own.train()
    nn.functional.cross_entropy(own((sets[0].images / 255 - mean) / std), sets[0].labels).backward()
    optimizer.step()
    for name, value in own.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, atol=1e-5, rtol=1e-4)


def test_the_defaults_change_nothing(sets):
    models = [Net(), Net()]
    nl.fit(models[0], *sets, nn.CrossEntropyLoss(), epochs=1, **HOW)
    nl.fit(models[1], *sets, nn.CrossEntropyLoss(), epochs=1, body_lr=1.0, frozen_epochs=0, **HOW)
    for name, value in models[0].state_dict().items():
        assert torch.equal(models[1].state_dict()[name], value)


class PauseIn(nl.Callback):
    def __init__(self, epoch: int, step: int) -> None:
        self.place, self.now = (epoch, step), (0, 0)

    def on_step(self, step) -> None:
        self.now = step.epoch, step.done

    def should_stop(self, history):
        return nl.Stop.PAUSE if self.now == self.place else None


@pytest.mark.parametrize("place", [(1, 2), (2, 1), (3, 2)])
def test_a_resumed_run_ends_like_one_that_was_not_stopped(sets, tmp_path, place):
    from noisylabels.core.interrupt import Interrupted

    how = HOW | {"epochs": 3, "frozen_epochs": 2, "body_lr": 0.5, "ema": 0.5, "clip": 1.0, "l1": 1e-4}
    whole, stopped = Net(), Net()
    nl.fit(whole, *sets, nn.CrossEntropyLoss(), **how)
    with pytest.raises(Interrupted):
        nl.fit(stopped, *sets, nn.CrossEntropyLoss(), folder=tmp_path, callbacks=[PauseIn(*place)], **how)
    assert all(parameter.requires_grad for parameter in stopped.parameters())
    again = Net()
    nl.fit(again, *sets, nn.CrossEntropyLoss(), folder=tmp_path, **how)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_half_precision_with_a_frozen_body(sets):
    history = nl.fit(
        Net(), *sets, nn.CrossEntropyLoss(), epochs=2, frozen_epochs=1, precision="bfloat16", **HOW
    )
    assert len(history) == 2


class Timm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Linear(4, K), nn.Linear(K, K)

    def get_classifier(self):
        return self.head


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (Net(), "fc"),
        (nn.Sequential(nn.Linear(4, K), nn.Linear(K, 5), nn.Linear(5, K), nn.ReLU()), "2"),
        (nn.Sequential(nn.Conv2d(3, K, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "0"),
        (Timm(), "head"),
    ],
)
def test_the_last_layer(network, name):
    assert last_layer(network, K) is dict(network.named_modules())[name]
    parts = Body([network], K)
    inside = {id(parameter) for parameter in last_layer(network, K).parameters()}
    assert not inside & set(map(id, parts.parameters))
    assert len(parts.parameters) + len(inside) == len(list(network.parameters()))


def test_a_model_without_a_last_layer(sets):
    with pytest.raises(InputError, match="give it a method get_classifier"):
        last_layer(nn.Sequential(nn.Linear(4, 7)), K)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "resnet18", "cnn8", "small-cnn", "wrn40-2"])
def test_models_of_the_catalog_have_one(name):
    network = nl.build_model(name, channels=3, image_size=(32, 32), num_classes=7, width=0.25)
    assert last_layer(network, 7).out_features == 7


def test_images_are_normalized_as_the_weights_expect(sets, tmp_path):
    seen = []

    class Watched(Net):
        def forward(self, x):
            seen.append(x.detach().clone())
            return super().forward(x)

    model = Watched()
    set_normalization(model, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), 3)
    nl.fit(model, *sets, nn.CrossEntropyLoss(), epochs=1, **HOW)
    # the test set comes last, in order
    wanted = (sets[1].images / 255 - torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)) / torch.tensor(
        [0.2, 0.3, 0.4]
    ).view(1, 3, 1, 1)
    torch.testing.assert_close(seen[-1].contiguous(), wanted, atol=1e-5, rtol=1e-5)
    shape = {"name": "own", "channels": 3, "image_size": (6, 6), "num_classes": K, "width": 1.0}
    save_model(tmp_path / "model.safetensors", model, shape, sets[0])
    saved = read_model(tmp_path / "model.safetensors")
    assert (saved.mean, saved.std) == ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def test_a_checkpoint_of_another_normalization_is_refused(sets, tmp_path):
    model = Net()
    nl.fit(model, *sets, nn.CrossEntropyLoss(), epochs=1, folder=tmp_path, **HOW)
    set_normalization(model, (0.5,) * 3, (0.5,) * 3, 3)
    with pytest.raises(InputError, match="normalization"):
        nl.fit(model, *sets, nn.CrossEntropyLoss(), epochs=1, folder=tmp_path, **HOW)


@pytest.mark.parametrize("value", [((0.5,), (0.5,)), ((0.5,) * 3, (0.5, 0.5, 0.0)), "batch", (1, 2)])
def test_a_normalization_that_does_not_fit(value):
    model = Net()
    model.input_normalization = value
    with pytest.raises(InputError, match="3 numbers each"):
        normalization_of(model, 3)


def test_gray_images_take_the_average_of_the_channels():
    model = Net()
    set_normalization(model, (0.3, 0.4, 0.5), (0.2, 0.2, 0.2), 1)
    mean, std = normalization_of(model, 1)
    assert mean == pytest.approx((0.4,))
    assert std == pytest.approx((0.2,))


@pytest.mark.parametrize(
    "bad", [{"body_lr": 0.0}, {"body_lr": -1.0}, {"frozen_epochs": -1}, {"batch_norm": "no"}]
)
def test_settings_out_of_range(sets, bad):
    with pytest.raises(InputError, match=next(iter(bad)).replace("batch_norm", "batch normalization")):
        nl.fit(Net(), *sets, nn.CrossEntropyLoss(), epochs=1, **bad)


def test_a_method_keeps_its_groups_complete():
    method = Plain([Net()], nn.CrossEntropyLoss())
    method.check_logits(K)
    groups = method.parameter_groups(nl.Settings(lr=0.1, body_lr=0.5))
    assert [group.lr for group in groups] == [0.05, None]
    assert sum(len(group.parameters) for group in groups) == len(list(method.parameters()))


class Dropping(Net):
    """With dropout before the last layer, as in EfficientNet."""

    def features(self, x):
        return self.norm(self.conv(x)).relu().mean((2, 3))

    def forward(self, x):
        return self.fc(nn.functional.dropout(self.features(x), 0.5, self.norm.training))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_features_stay_equal_in_frozen_epochs(sets, optimizer):
    """To the bit, also with momentum, weight decay, an L1 penalty, clipping and an average of the weights."""
    model = Dropping()
    pixels = torch.rand(4, 3, 6, 6)
    before = model.eval().features(pixels)
    how = {"weight_decay": 0.1, "l1": 0.01, "clip": 1.0, "ema": 0.5, "body_lr": 0.5, "channels_last": False}
    nl.fit(model, *sets, nn.CrossEntropyLoss(), epochs=2, frozen_epochs=2, optimizer=optimizer, **HOW, **how)
    assert torch.equal(model.features(pixels), before)


@pytest.mark.parametrize("batch_norm", ["auto", "train", "frozen"])
def test_frozen_epochs_are_a_linear_layer_on_features(sets, batch_norm):
    """Losses and accuracies are those of the last layer on features that were computed once."""
    model = Dropping()
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in sets[0].mean_std())
    with torch.no_grad():
        fit, seen = (model.eval().features((part.images / 255 - mean) / std) for part in sets)
    head = copy.deepcopy(model.fc)
    how = HOW | {"epochs": 3, "schedule": "constant"}
    found = nl.fit(
        model, *sets, nn.CrossEntropyLoss(), frozen_epochs=3, batch_norm=batch_norm, body_lr=0.5, **how
    )
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for epoch, row in enumerate(found.rows):
        order = torch.randperm(45, generator=generator(3, "order", epoch))
        losses = []
        for at in order.split(15):
            loss = nn.functional.cross_entropy(head(fit[at]), sets[0].labels[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert row["train_loss"] == pytest.approx(sum(losses) / 3, rel=1e-5)
        tested = nn.functional.cross_entropy(head(seen), sets[1].labels)
        assert row["test_loss"] == pytest.approx(tested.item(), rel=1e-5)


@pytest.mark.parametrize("pretrained", [False, True])
def test_frozen_statistics_of_batch_normalization(sets, pretrained):
    """They stay, and training uses them, while weight and bias learn."""
    model = Net()
    model.norm.running_mean.fill_(0.3)
    model.norm.running_var.fill_(2.0)
    own, before = copy.deepcopy(model), state(model)
    settings = HOW | {"batch_size": 45, "epochs": 1, "weight_decay": 0.0, "momentum": 0.0}
    mean, std = sets[0].mean_std()
    if pretrained:
        set_normalization(model, mean, std, 3)
    how = {"batch_norm": "auto" if pretrained else "frozen"}
    history = nl.fit(model, *sets, nn.CrossEntropyLoss(), **how, **settings)

    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (mean, std))
    optimizer = torch.optim.SGD(own.parameters(), lr=0.1)
    loss = nn.functional.cross_entropy(own.eval()((sets[0].images / 255 - mean) / std), sets[0].labels)
    loss.backward()
    optimizer.step()
    assert history.rows[0]["train_loss"] == pytest.approx(loss.item(), rel=1e-5)
    for name, value in own.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, atol=1e-5, rtol=1e-4)
        same = torch.equal(model.state_dict()[name], before[name])
        assert same == name.startswith(("norm.running", "norm.num")), name


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step", "onecycle"])
def test_the_rate_of_the_body_follows_the_schedule(sets, schedule):
    """The rates of body and last layer keep their ratio."""
    method = Plain([Net()], nn.CrossEntropyLoss())
    method.check_logits(K)
    use = nl.Settings(lr=0.1, body_lr=0.25, epochs=5, schedule=schedule)
    updater = Updater(method, use, torch.device("cpu"))
    for epoch in range(5):
        rate = learning_rate(use, epoch, 0.5)
        updater.set_lr(rate)
        (group, head) = updater.optimizers[0].param_groups
        assert group["lr"] == pytest.approx(0.25 * rate)
        assert head["lr"] == rate


RATE = {"forget_rate": 0.3}


class TwoBlocks(nn.Module):
    """Two convolutions with pretrained statistics, and a last layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, K)
        for norm in (self.norm, self.norm2):
            norm.running_mean.fill_(0.3)
            norm.running_var.fill_(2.0)

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        return self.fc(self.norm2(self.conv2(x)).relu().mean((2, 3)))


class Modes(nl.Callback):
    """Notes which normalizations of a method are in training mode in each epoch's last step."""

    def __init__(self) -> None:
        self.method, self.epochs = None, {}

    def make(self, expression, **inputs):
        def made(model, loss):
            self.method = nl.method(expression, **inputs)(model, loss)
            return self.method

        return made

    def on_step(self, step) -> None:
        modes = {
            name: each.training for name, each in self.method.named_modules() if hasattr(each, "momentum")
        }
        self.epochs[step.epoch] = modes


def test_layers_that_begin_anew_learn_their_statistics_where_those_of_others_are_kept(sets):
    callback, model = Modes(), TwoBlocks()
    how = HOW | {"epochs": 5, "batch_norm": "frozen", "callbacks": [callback]}
    nl.fit(model, *sets, nl.loss("ce"), method=callback.make("early_stop(T1=1,T2=1,T3=1,later=0.5)"), **how)
    first = {"networks.0.norm": False, "networks.0.norm2": False}
    assert callback.epochs == {1: first, **dict.fromkeys(range(2, 6), first | {"networks.0.norm2": True})}
    assert model.norm.running_var.tolist() == [2.0] * 4
    assert (model.norm2.running_var - 1).abs().min() > 0.01
    assert (model.norm2.running_var - 2).abs().min() > 0.01


@pytest.mark.parametrize("second", [None, TwoBlocks])
@pytest.mark.parametrize(
    "name", ["coteaching", "coteaching_plus", "jocor", "elr_plus", "dividemix(rate=0.3,warmup=1)"]
)
def test_a_second_network_has_statistics_to_keep_if_it_was_given(name, second, sets):
    given = {"second": second and second()} | ({} if "dividemix" in name or name == "elr_plus" else RATE)
    callback = Modes()
    how = HOW | {"epochs": 1, "batch_norm": "frozen", "augment": "flip", "callbacks": [callback]}
    nl.fit(TwoBlocks(), *sets, nl.loss("ce"), method=callback.make(name, **given), **how)
    modes = callback.epochs[1]
    kept = {place for place, training in modes.items() if not training}
    assert kept == {place for place in modes if second is not None or ".0." in place}
    assert len(modes) == (8 if name == "elr_plus" else 4)  # its averages too


def test_frozen_epochs_keep_the_body_of_the_averages_and_train_all_of_a_new_network(sets):
    callback = Modes()
    how = HOW | {"epochs": 1, "frozen_epochs": 1, "callbacks": [callback]}
    nl.fit(TwoBlocks(), *sets, nl.loss("ce"), method=callback.make("elr_plus"), **how)
    assert {place.split(".")[1]: training for place, training in callback.epochs[1].items()} == {
        "0": False,
        "1": True,
    }
    second = callback.method.networks[1]
    assert all(parameter.requires_grad for parameter in second.parameters())
