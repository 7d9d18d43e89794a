"""The loop that teaches: what it keeps, what it measures, and that it knows nothing of pruning."""

import pytest
import torch
from torch import nn

from slm_export.distillation import BY_TOKENS, distill, parts_of, some, split
from slm_export.distillation.losses import LOSSES
from slm_export.outputs import Tokens


def samples(count):
    return [Tokens(input_ids=tuple(range(i, i + 2 + i % 3))) for i in range(count)]


def features(part):
    return torch.tensor([[float(i % 7), len(t.input_ids), 1.0] for t in part for i in t.input_ids[:1]])


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    return nn.Linear(3, 4).requires_grad_(False)


def taught(teacher, student, parameters, *, rate=0.05, passes=8, **more):
    kind = LOSSES["distribution"]

    def loss(expected, got, temperature):
        return kind(expected["logits"], got["logits"], temperature)

    return distill(
        student=lambda part: {"logits": student(features(part))},
        teacher=lambda part: {"logits": teacher(features(part))},
        parameters=parameters,
        samples=samples(80),
        loss=loss,
        judge=loss,
        passes=passes,
        learning_rate=rate,
        **more,
    )


def test_a_student_learns_what_the_teacher_answers(teacher):
    torch.manual_seed(1)
    student = nn.Linear(3, 4)
    went = taught(teacher, student, list(student.parameters()))
    assert went.after < 0.3 * went.before and went.samples == 70 and went.judged == 10


def test_scales_of_frozen_integers_are_taught_by_the_same_loop(teacher):
    """As latents: the weight is computed from them, and only they are trained."""
    ints = (teacher.weight / teacher.weight.abs().max() * 7).round()
    latent = torch.zeros(4, 1, requires_grad=True)

    def student(x):
        return x @ (ints * (0.05 * (1 + latent))).T + teacher.bias

    went = taught(teacher, student, [latent])
    assert went.after < 0.5 * went.before and latent.abs().max() > 0.1


def test_the_best_state_is_kept_where_training_harms(teacher):
    student = nn.Linear(3, 4)
    student.load_state_dict({n: p + 1e-3 for n, p in teacher.state_dict().items()})
    before = {n: p.clone() for n, p in student.state_dict().items()}
    went = taught(teacher, student, list(student.parameters()), rate=50.0, passes=2)
    assert went.after == went.before and all(torch.equal(p, before[n]) for n, p in student.state_dict().items())


def test_what_must_hold_is_put_back_whenever_parameters_changed(teacher):
    torch.manual_seed(2)
    student = nn.Linear(3, 4)
    taught(teacher, student, [student.weight], refresh=lambda: student.weight.data[:, 0].zero_())
    assert not student.weight[:, 0].any() and student.weight[:, 1:].any()


def test_progress_counts_steps(teacher):
    told = []
    student = nn.Linear(3, 4)
    went = taught(
        teacher, student, list(student.parameters()), passes=2, progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (went.steps, went.steps) and len(told) == went.steps


@pytest.mark.parametrize(("count", "judged"), [(1, 1), (7, 1), (80, 10), (4096, 256)])
def test_some_samples_judge_and_teach_nothing(count, judged):
    lessons, exam = split(samples(count))
    assert len(exam) == judged and (count < 8 or len(lessons) + len(exam) == count)
    assert not set(lessons) & set(exam) or count == 1


def test_parts_are_of_one_length():
    parts = parts_of(samples(50), most=8)
    assert sum(map(len, parts)) == 50 and all(len(p) <= 8 for p in parts)
    assert all(len({len(t.input_ids) for t in part}) == 1 for part in parts)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_zero_for_the_same_and_positive_for_others(name):
    torch.manual_seed(0)
    expected, other = torch.randn(5, 4), torch.randn(5, 4)
    assert float(LOSSES[name](expected, expected, 2.0)) == pytest.approx(0, abs=1e-6)
    assert float(LOSSES[name](expected, other, 2.0)) > 0.1


def test_losses_are_what_they_are_called():
    expected, got = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
    by_hand = sum(0.5 * torch.log(0.5 / p) for p in torch.softmax(got[0], 0))
    assert float(LOSSES["distribution"](expected, got, 1.0)) == pytest.approx(float(by_hand))
    assert float(LOSSES["distribution"](expected, 2 * got, 2.0)) == pytest.approx(4 * float(by_hand))
    unit = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    assert float(LOSSES["vectors"](*unit, 1.0)) == pytest.approx(2 * (1 - 0.6))
    assert float(LOSSES["values"](expected, got, 1.0)) == pytest.approx(2.0)


@pytest.mark.parametrize("shape", [(5,), (3, 100, 11)])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_divergence_and_its_gradient_are_autograds_own(shape, temperature):
    torch.manual_seed(0)
    expected, got = 3 * torch.randn(*shape), torch.randn(*shape, requires_grad=True)
    wanted, said = (torch.log_softmax(x / temperature, -1) for x in (expected, got))
    plain = temperature**2 * (wanted.exp() * (wanted - said)).sum(-1).mean()
    (gradient,) = torch.autograd.grad(3 * plain, got)
    ours = LOSSES["distribution"](expected, got, temperature)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(torch.autograd.grad(3 * ours, got)[0], gradient)


def test_language_models_learn_from_steps_of_as_many_tokens(teacher):
    torch.manual_seed(1)
    student, seen = nn.Linear(3, 4), []
    texts = [Tokens(input_ids=tuple(range(length))) for length in [100] * 64]
    kind = LOSSES["distribution"]
    went = distill(
        student=lambda part: seen.append(part) or {"logits": student(features(part))},
        teacher=lambda part: {"logits": teacher(features(part))},
        parameters=list(student.parameters()),
        samples=texts,
        loss=lambda expected, got, t: kind(expected["logits"], got["logits"], t),
        judge=lambda expected, got, t: kind(expected["logits"], got["logits"], t),
        passes=1,
        learning_rate=0.1,
        batching=BY_TOKENS,
    )
    assert went.samples == 56 and went.steps == 14, "four texts of 100 tokens each"
    assert all(len(part) == 1 for part in seen)


def test_some_samples_are_from_all_over_the_file_and_as_many_as_have_the_tokens():
    texts = [Tokens(input_ids=(number,) * 10) for number in range(100)]
    chosen = some(texts, tokens=205)
    numbers = [t.input_ids[0] for t in chosen]
    assert len(chosen) == 20 and numbers == sorted(numbers) and numbers[0] < 25 and numbers[-1] > 75
    assert some(texts, tokens=205) == chosen and some(texts[:1], tokens=5) == texts[:1], "one at least"
