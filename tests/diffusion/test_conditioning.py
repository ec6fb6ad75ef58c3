import pytest
import torch

from d2c.diffusion.conditioning import DCEmbedder, LabelEmbedder
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.sit import build
from d2c.errors import D2CError


@pytest.fixture
def embedder():
    torch.manual_seed(0)
    made = DCEmbedder(num_classes=3, width=8, text_length=5, text_dim=4)
    made.reset()
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()
    made.set_text(torch.randn(3, 5, 4), mask)
    return made


def test_equation_9_written_out(embedder):
    """y = MLP(t̃) + t̃ + e_c with sums in the place of library calls."""
    weight, bias = embedder.text_conv.weight, embedder.text_conv.bias
    for c in range(3):
        mask = embedder.text_mask[c].float()
        tokens = embedder.text_tokens[c].float() * mask[:, None]
        padded = torch.cat([torch.zeros(1, 4), tokens, torch.zeros(1, 4)])
        mixed = torch.stack([(weight * padded[i : i + 3].T).sum((1, 2)) + bias for i in range(5)])
        pooled = sum(mixed[i] for i in range(5) if mask[i]) / mask.sum()
        expected = embedder.text_mlp(pooled) + pooled + embedder.embedding_table.weight[c]
        torch.testing.assert_close(embedder(torch.tensor([c]))[0], expected, rtol=1e-4, atol=1e-6)


def test_the_null_class_has_no_text(embedder):
    null = embedder(torch.tensor([3]))
    embedder.set_text(torch.randn(3, 5, 4), torch.ones(3, 5))
    assert torch.equal(embedder(torch.tensor([3])), null)
    embedder.text_null.data += 1
    assert not torch.allclose(embedder(torch.tensor([3])), null)


def test_masked_tokens_do_not_matter(embedder):
    tokens, mask = torch.randn(3, 5, 4), embedder.text_mask.clone()
    embedder.set_text(tokens, mask)
    before = embedder(torch.arange(4))
    embedder.set_text(torch.where(mask[..., None], tokens, 1000.0), mask)
    torch.testing.assert_close(embedder(torch.arange(4)), before)


def test_the_scale_of_the_encoder_does_not_matter(embedder):
    tokens, mask = torch.randn(3, 5, 4), embedder.text_mask.clone()
    embedder.set_text(tokens, mask)
    before = embedder(torch.arange(4))
    embedder.set_text(tokens * 37, mask)
    torch.testing.assert_close(embedder(torch.arange(4)), before, rtol=1e-2, atol=1e-3)
    kept = embedder.text_tokens.float()[mask]
    assert kept.square().mean().sqrt().item() == pytest.approx(1, rel=1e-2)


def test_text_starts_about_as_loud_as_the_time():
    torch.manual_seed(0)
    model = build(ModelConfig("SiT", "S", 2, 8, 3, 20, text_dim=512, text_length=7, layers=1))
    model.set_text(torch.randn(20, 7, 512) * 5, torch.ones(20, 7))
    text = model.y_embedder(torch.arange(20)).std().item()
    time = model.t_embedder(torch.rand(20)).std().item()
    assert 1 / 5 < text / time < 5


@pytest.mark.parametrize(
    ("tokens", "mask"), [((3, 5, 5), (3, 5)), ((4, 5, 4), (4, 5)), ((3, 5, 4), (3, 4)), ((5, 4), (5,))]
)
def test_text_of_another_shape_is_refused(embedder, tokens, mask):
    with pytest.raises(D2CError, match=r"takes \(3, 5, 4\)"):
        embedder.set_text(torch.zeros(tokens), torch.ones(mask))


def test_a_class_without_a_token_is_refused(embedder):
    mask = torch.ones(3, 5)
    mask[1] = 0
    with pytest.raises(D2CError, match="without a single text token"):
        embedder.set_text(torch.zeros(3, 5, 4), mask)


def test_a_model_without_text_says_so(tiny):
    with pytest.raises(D2CError, match="takes no text"):
        tiny().set_text(torch.zeros(4, 2, 2), torch.ones(4, 2))


def test_every_label_has_its_row_and_a_gradient():
    table = LabelEmbedder(3, 4)
    table.reset()
    out = table(torch.tensor([0, 3, 0]))
    assert torch.equal(out[0], out[2])
    assert not torch.equal(out[0], out[1])
    out.sum().backward()
    assert table.embedding_table.weight.grad[:, 0].tolist() == [2, 0, 0, 1]


@pytest.fixture
def speaker():
    torch.manual_seed(0)
    made = DCEmbedder(num_classes=3, width=8, text_length=5, text_dim=4, class_vector=False)
    made.reset()
    made.set_text(torch.randn(3, 5, 4), torch.ones(3, 5))
    return made


def test_text_alone_is_equation_9_without_the_class(speaker, embedder):
    assert "embedding_table.weight" not in speaker.state_dict()
    embedder.load_state_dict(speaker.state_dict(), strict=False)
    both = embedder(torch.arange(4)) - embedder.embedding_table.weight
    torch.testing.assert_close(speaker(torch.arange(4)), both)


def test_text_alone_has_a_null_of_its_own(speaker):
    null = speaker(torch.tensor([3]))
    torch.testing.assert_close(null, (speaker.text_mlp(speaker.text_null) + speaker.text_null)[None])
    speaker.set_text(torch.randn(3, 5, 4), torch.ones(3, 5))
    assert torch.equal(speaker(torch.tensor([3])), null)
    assert not torch.allclose(speaker(torch.tensor([0])), null, atol=1e-3)
    null.sum().backward()
    assert speaker.text_conv.weight.grad.abs().max() == 0
    assert speaker.text_null.grad.abs().max() > 0


def test_classes_of_one_text_are_one_to_text_alone(speaker):
    tokens = torch.randn(3, 5, 4)
    tokens[2] = tokens[0]
    speaker.set_text(tokens, torch.ones(3, 5))
    rows = speaker(torch.arange(3))
    torch.testing.assert_close(rows[0], rows[2])
    assert not torch.allclose(rows[0], rows[1], atol=1e-3)


@pytest.mark.parametrize(
    "options", [{}, {"text_dim": 4, "text_length": 5}, {"text_dim": 4, "text_length": 5, "class_vector": False}]
)
def test_guidance_pulls_away_from_the_null_of_each(tiny, options):
    """Guided by g, the prediction is null + g·(own − null), with the null that training put in place of a class."""
    from d2c.diffusion.samplers import sample

    model = tiny(**options)
    if options:
        model.set_text(torch.randn(4, 5, 4), torch.ones(4, 5))
    noise, y = torch.randn(2, 3, 8, 8), torch.tensor([0, 3])
    with torch.inference_mode():
        own, null = (model(noise, torch.zeros(1), labels) for labels in (y, torch.full((2,), 4)))
    assert not torch.allclose(own, null, atol=1e-4)
    found = sample(model, noise, y, steps=1, solver="euler", guidance=3.0)
    torch.testing.assert_close(found, noise + null + 3 * (own - null), rtol=1e-4, atol=1e-5)
