"""Two players: a generator of points in the plane, and a discriminator that tells them from data.

At the equilibrium the generator draws as the data do, and the discriminator, left with guessing,
is right half of the time (Goodfellow et al., Generative adversarial nets, 2014). Plain gradient
steps circle around it; a penalty on the discriminator's slope at the data, itself a derivative that
is differentiated, makes them arrive, and the mean of the generator's weights over the last rounds
still sooner (Mescheder, Geiger, Nowozin, Which training methods for GANs do actually converge?,
2018).

    python examples/gan.py
"""

from __future__ import annotations

import argparse
import copy
import time

import wengert as torch
from wengert import nn, optim
from wengert.distributions import Categorical, MultivariateNormal
from wengert.nn.functional import softplus


def data_distribution():
    """Two oblong clouds: draws of one of two bivariate normals, and the mean and covariance."""
    weights = torch.tensor([0.6, 0.4])
    means = torch.tensor([[-1.0, 0.5], [1.5, -0.5]])
    covariances = torch.tensor([[[0.30, 0.20], [0.20, 0.25]], [[0.20, -0.10], [-0.10, 0.35]]])
    clouds, which = MultivariateNormal(means, covariances), Categorical(weights)

    def draw(n):
        return clouds.sample((n,))[torch.arange(n), which.sample((n,))]

    mean = weights @ means
    away = means - mean
    between = torch.einsum("k,ki,kj->ij", weights, away, away)
    within = torch.einsum("k,kij->ij", weights, covariances)
    return draw, mean, between + within


def mlp(inputs, hidden, outputs):
    """A network of two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, hidden),
        nn.LeakyReLU(0.2),
        nn.Linear(hidden, outputs),
    )


def judge(draw, generator, discriminator, noise, n=20_000):
    """The discriminator's accuracy on n points of each kind; mean and covariance of the drawn."""
    with torch.no_grad():
        drawn = generator(torch.randn(n, noise))
        right = (discriminator(draw(n)) > 0).sum() + (discriminator(drawn) <= 0).sum()
        return right.item() / (2 * n), drawn.mean(0), torch.cov(drawn.t())


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Play; return the accuracy and how far mean and covariance are from the data's."""
    parser = argparse.ArgumentParser(description="a generative adversarial network in the plane")
    parser.add_argument("--rounds", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--noise", type=int, default=2, help="dimensions of the generator's input")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--penalty", type=float, default=1.0, help="weight of the squared slope")
    parser.add_argument("--share", type=float, default=0.005, help="of a round in the mean weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log-every", type=int, default=500, metavar="ROUNDS")
    parser.add_argument("--quick", action="store_true", help="a few rounds, to see that it runs")
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.log_every = 300, 100

    torch.manual_seed(args.seed)
    draw, mean, covariance = data_distribution()
    generator, discriminator = mlp(args.noise, args.hidden, 2), mlp(2, args.hidden, 1)
    g_step = optim.Adam(generator.parameters(), lr=args.lr, betas=(0.0, 0.99))
    d_step = optim.Adam(discriminator.parameters(), lr=args.lr, betas=(0.0, 0.99))
    averaged = copy.deepcopy(generator)
    start, found = time.perf_counter(), {}

    for round_ in range(1, args.rounds + 1):
        for group in g_step.param_groups + d_step.param_groups:  # smaller and smaller steps
            group["lr"] = args.lr * (1 - (round_ - 1) / args.rounds)
        # the discriminator: real points to above zero, drawn ones to below
        real = draw(args.batch).requires_grad_()
        with torch.no_grad():
            fake = generator(torch.randn(args.batch, args.noise))
        on_real, on_fake = discriminator(real), discriminator(fake)
        (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
        penalty = slope.square().sum(1).mean()
        loss = softplus(-on_real).mean() + softplus(on_fake).mean() + args.penalty / 2 * penalty
        d_step.zero_grad()
        loss.backward()
        d_step.step()

        # the generator: its points to above zero
        loss = softplus(-discriminator(generator(torch.randn(args.batch, args.noise)))).mean()
        g_step.zero_grad()
        loss.backward()
        g_step.step()
        with torch.no_grad():
            for mean_weight, weight in zip(
                averaged.parameters(), generator.parameters(), strict=True
            ):
                mean_weight.lerp_(weight, args.share)

        if round_ % args.log_every == 0 or round_ in (args.log_every // 10, args.rounds):
            accuracy, drawn_mean, drawn_covariance = judge(
                draw, averaged, discriminator, args.noise
            )
            found = {
                "accuracy": accuracy,
                "mean": (drawn_mean - mean).norm().item(),
                "covariance": (drawn_covariance - covariance).norm().item(),
            }
            print(
                f"round {round_:5d}  discriminator right {accuracy:5.1%}  off by: mean "
                f"{found['mean']:.3f}, covariance {found['covariance']:.3f}  "
                f"({time.perf_counter() - start:.1f} s)"
            )
    print("data       " + shown(mean, covariance))
    print("generator  " + shown(drawn_mean, drawn_covariance))
    return found


def shown(mean, covariance):
    """Both in a line, with two digits."""
    rows = [mean.tolist(), *covariance.tolist()]
    texts = [", ".join(f"{x:5.2f}" for x in row) for row in rows]
    return f"mean ({texts[0]}), covariance ({texts[1]}; {texts[2]})"


if __name__ == "__main__":
    main()
