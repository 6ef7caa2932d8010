"""An actor and a critic on the cart-pole: a learned baseline, and no waiting for the end.

REINFORCE weights a step with all that came after it, which is unbiased and noisy. Here a second
output, the critic, learns what a state is worth; a step is weighted with how much better it went
than that, looking a few steps ahead and then at the critic again (Barto, Sutton, Anderson 1983;
Mnih et al., Asynchronous methods for deep reinforcement learning, 2016; the weights of the looks
ahead are those of Schulman et al., High-dimensional continuous control using generalized advantage
estimation, 2016). Several cart-poles run side by side, a batch to the network.

    python examples/actor_critic.py
"""

from __future__ import annotations

import argparse
import time

import cartpole

import wengert as torch
from wengert import nn, optim
from wengert.distributions import Categorical


class ActorCritic(nn.Module):
    """Logits of the pushes and the worth of the state, from features of their own."""

    def __init__(self, hidden):
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 2))
        self.critic = nn.Sequential(nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, x):
        """The policy and the worth in each of a batch of states."""
        return Categorical(logits=self.actor(x)), self.critic(x).squeeze(-1)


class Players:
    """Cart-poles side by side, each starting anew when its episode ends."""

    def __init__(self, n, seed, prefer_gymnasium):
        self.envs = [cartpole.make(prefer_gymnasium) for _ in range(n)]
        self.observations = [env.reset(seed=seed + i)[0] for i, env in enumerate(self.envs)]
        self.lengths = [0] * n
        self.totals: list[float] = []  # of the episodes that ended

    def step(self, actions):
        """What each earned, what it came to, whether it fell there, whether the episode ended."""
        rewards, reached, fell, ended = [], [], [], []
        for i, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            observation, reward, terminated, truncated, _ = env.step(action)
            rewards.append(float(reward))
            reached.append(tuple(observation))
            fell.append(terminated)
            ended.append(terminated or truncated)
            self.lengths[i] += 1
            if ended[-1]:
                self.totals.append(float(self.lengths[i]))
                self.lengths[i] = 0
                observation, _ = env.reset()
            self.observations[i] = observation
        return rewards, reached, fell, ended


def advantages_of(rewards, values, next_values, fell, ended, gamma, lam):
    """How much better it went than the critic said: sums of its errors, fading by gamma lam."""
    errors = rewards + gamma * next_values * (1 - fell) - values
    found, after = [], torch.zeros(errors.shape[1])
    for error, end in zip(reversed(errors.unbind(0)), reversed(ended.unbind(0)), strict=True):
        after = error + gamma * lam * (1 - end) * after
        found.append(after)
    return torch.stack(found[::-1])


def main(argv: list[str] | None = None) -> list[float]:
    """Train; return the sum of rewards of each episode, in the order of their ends."""
    parser = argparse.ArgumentParser(description="actor-critic on the cart-pole")
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--envs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=32, help="between two updates")
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--lam", type=float, default=0.95)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--entropy", type=float, default=0.01, help="weight of its bonus")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log-every", type=int, default=150, metavar="UPDATES")
    parser.add_argument("--built-in", action="store_true", help="do not look for gymnasium")
    parser.add_argument("--quick", action="store_true", help="a few updates, to see that it runs")
    args = parser.parse_args(argv)
    if args.quick:
        args.updates, args.log_every = 60, 20

    torch.manual_seed(args.seed)
    players = Players(args.envs, args.seed, not args.built_in)
    model = ActorCritic(args.hidden)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    start = time.perf_counter()

    for update in range(1, args.updates + 1):
        for group in optimizer.param_groups:  # smaller and smaller steps, so that it settles
            group["lr"] = args.lr * (1 - (update - 1) / args.updates)
        seen, pushed, outcomes = [], [], []
        with torch.no_grad():
            for _ in range(args.steps):
                x = torch.tensor([tuple(o) for o in players.observations])
                actions = Categorical(logits=model.actor(x)).sample()
                seen.append(x)
                pushed.append(actions)
                outcomes.append(players.step(actions.tolist()))
        x, actions = torch.stack(seen), torch.stack(pushed)
        rewards, reached, fell, ended = map(torch.tensor, zip(*outcomes, strict=True))

        rewards = rewards * (1 - args.gamma)  # so that to stay up for ever is worth 1
        policy, values = model(x)
        with torch.no_grad():
            next_values = model.critic(reached).squeeze(-1)
            advantages = advantages_of(
                rewards, values, next_values, fell.float(), ended.float(), args.gamma, args.lam
            )
            targets = advantages + values
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-6)
        actor_loss = -(policy.log_prob(actions) * advantages).mean()
        critic_loss = nn.functional.mse_loss(values, targets)
        loss = actor_loss + 0.5 * critic_loss - args.entropy * policy.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()

        if update % args.log_every == 0 and players.totals:
            last = players.totals[-20:]
            print(
                f"update {update:4d}  episodes {len(players.totals):4d}  mean reward of the last "
                f"{len(last)}: {sum(last) / len(last):6.1f}  ({time.perf_counter() - start:.1f} s)"
            )
    return players.totals


if __name__ == "__main__":
    main()
