"""A little of everything on the CUDA device, small enough for compute-sanitizer."""

from __future__ import annotations

import wengert as wg


def main() -> None:
    wg.manual_seed(0)
    net = wg.nn.Sequential(
        wg.nn.Conv2d(1, 4, 3, padding=1), wg.nn.BatchNorm2d(4), wg.nn.ReLU(), wg.nn.MaxPool2d(2),
        wg.nn.Flatten(), wg.nn.Linear(64, 33), wg.nn.LayerNorm(33), wg.nn.GELU(),
        wg.nn.Dropout(0.1), wg.nn.Linear(33, 10),
    ).to("cuda")  # fmt: skip
    optimizer = wg.optim.Adam(net.parameters(), lr=1e-3)
    x, y = wg.randn(5, 1, 8, 8, device="cuda"), wg.randint(0, 10, (5,), device="cuda")

    def step(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        optimizer.zero_grad()
        loss = wg.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        wg.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    replayed = wg.capture(step)
    for _ in range(3):
        step(x, y)
        replayed(x, y)
    q = wg.randn(2, 2, 40, 16, device="cuda", requires_grad=True)
    wg.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True).sum().backward()
    table = wg.randn(50, 7, device="cuda", requires_grad=True)
    picked = wg.nn.functional.embedding(wg.randint(0, 50, (90,), device="cuda"), table)
    picked.cumsum(0).sort(0)[0].sum().backward()
    a = wg.randn(70, 65, device="cuda", dtype=wg.bfloat16)
    (a @ a.t()).float().softmax(-1).argmax(-1)
    wg.cuda.synchronize()
    print("done")


if __name__ == "__main__":
    main()
