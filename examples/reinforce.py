"""REINFORCE on the cart-pole: the gradient of a mean, through draws that have no derivative.

The policy draws a push; nothing can be differentiated through the draw or through the cart. But
d/dw E[R] = E[R d/dw log p(action)], so the steps of an episode, each weighted with what was earned
after it, estimate the gradient (Williams, Simple statistical gradient-following algorithms for
connectionist reinforcement learning, 1992).

    python examples/reinforce.py
"""

from __future__ import annotations

import argparse
import time

import cartpole

import wengert as torch
from wengert import nn, optim
from wengert.distributions import Categorical


def discounted(rewards: list[float], gamma: float) -> list[float]:
    """What each step earned from there on, later rewards counting gamma less a step."""
    returns, after = [], 0.0
    for reward in reversed(rewards):
        after = reward + gamma * after
        returns.append(after)
    return returns[::-1]


def run_episode(env, policy):
    """Play once: the observations, the actions drawn, the rewards."""
    observations, actions, rewards = [], [], []
    observation, _ = env.reset()
    done = False
    while not done:
        with torch.no_grad():
            action = Categorical(logits=policy(torch.tensor(observation))).sample().item()
        observations.append(observation)
        actions.append(action)
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(reward)
        done = terminated or truncated
    return observations, actions, rewards


def main(argv: list[str] | None = None) -> list[float]:
    """Train; return the sum of rewards of each episode."""
    parser = argparse.ArgumentParser(description="REINFORCE on the cart-pole")
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log-every", type=int, default=50, metavar="EPISODES")
    parser.add_argument("--built-in", action="store_true", help="do not look for gymnasium")
    parser.add_argument("--quick", action="store_true", help="a few episodes, to see that it runs")
    args = parser.parse_args(argv)
    if args.quick:
        args.episodes, args.log_every = 60, 20

    torch.manual_seed(args.seed)
    env = cartpole.make(prefer_gymnasium=not args.built_in)
    env.reset(seed=args.seed)
    policy = nn.Sequential(nn.Linear(4, args.hidden), nn.Tanh(), nn.Linear(args.hidden, 2))
    optimizer = optim.Adam(policy.parameters(), lr=args.lr)

    start, totals = time.perf_counter(), []
    for episode in range(1, args.episodes + 1):
        observations, actions, rewards = run_episode(env, policy)
        returns = torch.tensor(discounted(rewards, args.gamma))
        # the mean as a baseline, and a common scale, leave fewer accidents in the estimate
        advantages = (returns - returns.mean()) / (returns.std() + 1e-6)
        draws = Categorical(logits=policy(torch.tensor(observations)))
        loss = -(draws.log_prob(torch.tensor(actions)) * advantages).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(sum(rewards))
        if episode % args.log_every == 0:
            last = totals[-args.log_every :]
            print(
                f"episode {episode:4d}  mean reward of the last {len(last)}: "
                f"{sum(last) / len(last):6.1f}  ({time.perf_counter() - start:.1f} s)"
            )
    return totals


if __name__ == "__main__":
    main()
