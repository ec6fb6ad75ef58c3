import copy

import numpy as np
import pytest
import torch

from d2c.config import configure
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.sit import build
from d2c.errors import D2CError
from d2c.train import TrainConfig
from d2c.train.data import pixel_set
from d2c.train.draws import draw, indices
from d2c.train.preview import grid
from d2c.train.step import Trainer

CPU = torch.device("cpu")


def tiny_model(**options):
    torch.manual_seed(0)
    model = build(ModelConfig("SiT", "Ti", 4, 8, 1, 3, layers=2, **options))
    if options.get("text_dim"):
        model.set_text(torch.randn(3, 4, 6), torch.ones(3, 4, dtype=torch.bool))
    # DiT starts with a zero last layer and zero gates; away from there every weight has a gradient.
    for p in model.parameters():
        p.data += 0.02 * torch.randn_like(p)
    return model.train()


def tiny_data(tokens=False):
    rng = np.random.default_rng(0)
    z = torch.randn(6, 4, 5).half() if tokens else None
    return pixel_set(rng.integers(0, 256, (6, 1, 8, 8), dtype=np.uint8), np.array([0, 1, 2, 0, 1, 2]), z)


def trainer(model, data, **options):
    config = configure(TrainConfig, None, {"batch": 4, "lr": 1e-2, **options})
    return Trainer(model, data, config, lr=config.lr, device=CPU, precision="fp32")


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_steps_equal_a_plain_loop():
    """The same three steps written out with Adam, a cosine by hand and a loop over the parameters."""
    options = {"align_dim": 5, "align_depth": 1, "text_dim": 6, "text_length": 4}
    model, data = tiny_model(**options), tiny_data(tokens=True)
    plain, average, start = copy.deepcopy(model), copy.deepcopy(model), flat(model)
    made = trainer(model, data, ema=0.5, warmup=2, alignment=0.7, drop=0.3)
    adam = torch.optim.Adam(plain.parameters(), lr=1.0, betas=(0.9, 0.999))
    losses = []
    for step in (1, 2, 3):
        made.step(step)
        i = indices(0, 6, (step - 1) * 4, 4)
        d = draw(0, step, plain.path, (4, 1, 8, 8), drop=0.3, flip=False, posterior=False, device=CPU)
        x = data.mean[i].float() / 127.5 - 1
        y = torch.tensor([3 if gone else int(data.labels[j]) for j, gone in zip(i, d.dropped, strict=True)])
        t = d.t[:, None, None, None]
        out, tokens = plain(t * x + (1 - t) * d.noise, d.t, y, tap=1)
        p, z = plain.project(tokens), data.tokens[i].float()
        cosine = (p * z).sum(-1) / (p.norm(dim=-1) * z.norm(dim=-1))
        loss = (out - (x - d.noise)).square().mean() - 0.7 * cosine.mean()
        adam.zero_grad()
        loss.backward()
        norm = torch.sqrt(sum(q.grad.square().sum() for q in plain.parameters()))
        for q in plain.parameters():
            q.grad *= min(1.0, 1.0 / norm.item())
        adam.param_groups[0]["lr"] = 1e-2 * min(1, step / 2)
        adam.step()
        decay = min(0.5, (1 + step) / (10 + step))
        for a, q in zip(average.parameters(), plain.parameters(), strict=True):
            a.data = decay * a.data + (1 - decay) * q.data
        losses.append(loss.item())
    for ours, theirs in ((model, plain), (made.average.model, average)):
        # Over all weights together: where a gradient is zero but for rounding, Adam scales the rounding up.
        apart, moved = flat(ours) - flat(theirs), flat(theirs) - start
        assert apart.norm() < 5e-4 * moved.norm()
    assert made.measured()["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("text", [False, True])
def test_dropping_takes_class_and_text_away_together(text):
    model = tiny_model(text_dim=6, text_length=4) if text else tiny_model()
    before = copy.deepcopy(model.y_embedder)
    made = trainer(model, tiny_data(), drop=1.0)
    made.step(1)
    table = model.y_embedder.embedding_table.weight
    assert torch.equal(table[:3], before.embedding_table.weight[:3])
    assert not torch.equal(table[3], before.embedding_table.weight[3])
    if text:
        assert torch.equal(model.y_embedder.text_conv.weight, before.text_conv.weight)
        assert not torch.equal(model.y_embedder.text_null, before.text_null)


def test_without_dropping_the_null_is_never_trained():
    model = tiny_model()
    null = model.y_embedder.embedding_table.weight[3].detach().clone()
    made = trainer(model, tiny_data(), drop=0.0)
    made.step(1)
    assert torch.equal(model.y_embedder.embedding_table.weight[3], null)


def test_clipping_bounds_what_adam_sees():
    model = tiny_model()
    made = trainer(model, tiny_data(), clip=1e-3)
    made.step(1)
    norm = torch.sqrt(sum(p.grad.square().sum() for p in model.parameters()))
    assert float(norm) <= 1e-3 * 1.001
    assert made.measured()["grad_norm"] > 1e-3  # what is reported is the norm before clipping


def test_measured_starts_over():
    made = trainer(tiny_model(), tiny_data())
    made.step(1)
    first = made.measured()["loss"]
    made.step(2)
    second = made.measured()["loss"]
    assert first != second
    assert made.counted == 0


def test_indices_are_drawn_ahead_without_changing_them():
    made = trainer(tiny_model(), tiny_data())
    for number in (1, 2, 64, 65, 130, 3):
        assert torch.equal(made.order(number), indices(0, 6, (number - 1) * 4, 4))


def test_a_learning_model_learns():
    made = trainer(tiny_model(), tiny_data(), batch=6, lr=3e-3)
    losses = []
    for number in range(1, 41):
        made.step(number)
        if number % 10 == 0:
            losses.append(made.measured()["loss"])
    assert losses[-1] < 0.8 * losses[0]


def test_bf16_stays_near_fp32_and_keeps_fp32_weights():
    models = [tiny_model(), tiny_model()]
    found = []
    for model, precision in zip(models, ("fp32", "bf16"), strict=True):
        made = trainer(model, tiny_data())
        made.precision = precision
        made.step(1)
        found.append(made.measured()["loss"])
    assert found[0] == pytest.approx(found[1], rel=2e-2)
    assert {p.dtype for p in models[1].parameters()} == {torch.float32}


def test_grid_places_tiles_row_by_row():
    tiles = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1).repeat(64, 2).repeat(64, 3)
    sheet = grid(tiles, 2)
    assert sheet.shape == (129, 129)
    assert [sheet[5, 5], sheet[5, 70], sheet[70, 5], sheet[70, 70]] == [0, 1, 2, 3]
    assert (sheet[64] == 128).all()
    assert grid(tiles.repeat(3, 1), 2).shape == (129, 129, 3)


@pytest.mark.parametrize("micro", [1, 3])
def test_micro_batches_give_the_step_of_the_whole_batch(micro):
    """Its gradients and its losses, also where they do not divide it."""
    options = {"align_dim": 5, "align_depth": 1}
    start, data, found = tiny_model(**options), tiny_data(tokens=True), []
    for size in (0, micro):
        made = trainer(copy.deepcopy(start), data, micro_batch=size)
        losses = made._gradients(1)
        found.append((torch.cat([p.grad.flatten() for p in made.model.parameters()]), [float(v) for v in losses]))
    (one, whole), (other, parts) = found
    assert torch.allclose(one, other, atol=1e-6)
    assert parts == pytest.approx(whole, rel=1e-5)


def test_out_of_memory_halves_the_micro_batch_and_nothing_else(monkeypatch):
    start, data = tiny_model(), tiny_data()
    whole = trainer(copy.deepcopy(start), data)
    whole.step(1)
    made = trainer(copy.deepcopy(start), data)
    real = made.losses.forward

    def small(x, *rest):
        if len(x) > 1:
            raise torch.OutOfMemoryError("no room")
        return real(x, *rest)

    monkeypatch.setattr(made.losses, "forward", small)
    made.step(1)
    assert made.micro == 1
    assert [note.split(":")[0] for note in made.notes] == ["out of memory"] * 2
    assert torch.allclose(flat(whole.model), flat(made.model), atol=1e-6)


def test_one_image_too_many_is_one_line(monkeypatch):
    made = trainer(tiny_model(), tiny_data(), micro_batch=1)

    def never(*batch):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(made.losses, "forward", never)
    with pytest.raises(D2CError, match="too little memory") as problem:
        made.step(1)
    assert "\n" not in str(problem.value)


def test_weight_decay_and_schedule_reach_the_optimizer():
    made = trainer(tiny_model(), tiny_data(), weight_decay=0.1, beta2=0.95, schedule="linear", warmup=0, steps=4)
    made.step(3)
    (group,) = made.optimizer.param_groups
    assert (group["weight_decay"], group["betas"]) == (0.1, (0.9, 0.95))
    assert group["lr"] == pytest.approx(1e-2 * 0.5)
