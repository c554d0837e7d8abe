"""Make optimisers.npz, schedules.npz and losses.npz beside this file, to be read without torch.

    python tests/golden/make_fit_golden.py    needs torch 2.15; the same torch gives the same bytes

Stored as make_golden.py does: "<case>/<name>", options as JSON in "<case>/config".

    optimisers.npz   50 steps on the full batch of a linear layer with MSE, with or without a
                     schedule: x, target, before.<weight> -> loss (before each step) and params
                     (after each step, (50, P), weight and bias one after the other)
    schedules.npz    51 learning rates and momenta (before each of 50 steps, and after them), and
                     what ReduceLROnPlateau was given after each step
    losses.npz       outputs and target -> loss and gradient
"""

import warnings

import numpy as np
import torch
from make_golden import save, tensor
from torch import nn
from torch.optim import lr_scheduler

STEPS = 50

OPTIMISERS = {
    "sgd": ("SGD", {"lr": 0.05}),
    "sgd_decay": ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    "sgd_momentum_decay": ("SGD", {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}),
    "sgd_nesterov": ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    "sgd_nesterov_decay": (
        "SGD",
        {"lr": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
    ),
    "adam": ("Adam", {}),
    "adam_decay": ("Adam", {"lr": 0.02, "betas": (0.8, 0.99), "weight_decay": 0.1}),
    "adam_eps": ("Adam", {"lr": 0.02, "eps": 0.1}),
    "adamw": ("AdamW", {}),
    "adamw_decay": ("AdamW", {"lr": 0.02, "weight_decay": 0.3}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop_momentum": ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-4, "momentum": 0.7}),
    "rmsprop_centered": ("RMSprop", {"centered": True, "alpha": 0.9}),
    "rmsprop_all": (
        "RMSprop",
        {"lr": 0.005, "centered": True, "momentum": 0.5, "weight_decay": 0.1},
    ),
    "adagrad": ("Adagrad", {}),
    "adagrad_decay": ("Adagrad", {"lr": 0.2, "lr_decay": 0.05, "eps": 1e-3, "weight_decay": 0.1}),
}

# (name, options); every one is stepped after every step of the optimiser, which is an epoch here.
SCHEDULES = {
    "step": ("StepLR", {"step_size": 7}),
    "step_gamma": ("StepLR", {"step_size": 10, "gamma": 0.5}),
    "cosine": ("CosineAnnealingLR", {"T_max": 50}),
    "cosine_waves": ("CosineAnnealingLR", {"T_max": 12, "eta_min": 0.01}),
    "linear": ("LinearLR", {}),
    "linear_long": ("LinearLR", {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 30}),
    "one_cycle": ("OneCycleLR", {"max_lr": 0.2, "total_steps": 50}),
    "one_cycle_linear": (
        "OneCycleLR",
        {"max_lr": 0.2, "epochs": 10, "steps_per_epoch": 5, "anneal_strategy": "linear"},
    ),
    "one_cycle_phases": (
        "OneCycleLR",
        {
            "max_lr": 0.2,
            "total_steps": 50,
            "three_phase": True,
            "pct_start": 0.37,
            "div_factor": 10.0,
            "final_div_factor": 100.0,
        },
    ),
    "one_cycle_lr_alone": (
        "OneCycleLR",
        {"max_lr": 0.2, "total_steps": 60, "cycle_momentum": False},
    ),
    "plateau": ("ReduceLROnPlateau", {"patience": 2, "factor": 0.5}),
    "plateau_max": (
        "ReduceLROnPlateau",
        {"mode": "max", "patience": 1, "threshold": 0.05, "threshold_mode": "abs", "cooldown": 2},
    ),
    "plateau_floor": ("ReduceLROnPlateau", {"patience": 0, "factor": 0.3, "min_lr": 0.004}),
    "plateau_max_rel": (
        "ReduceLROnPlateau",
        {"mode": "max", "patience": 3, "threshold": 0.01, "factor": 0.9},
    ),
}

# Optimisers under a schedule: does what is set reach the steps?
SCHEDULED = {
    "sgd_momentum_one_cycle": ("SGD", {"lr": 0.1, "momentum": 0.9}, "one_cycle"),
    "sgd_plain_one_cycle": ("SGD", {"lr": 0.1}, "one_cycle_linear"),
    "adam_one_cycle": ("Adam", {}, "one_cycle"),
    "rmsprop_one_cycle": ("RMSprop", {}, "one_cycle_phases"),
    "adamw_cosine": ("AdamW", {"lr": 0.05}, "cosine_waves"),
    "adagrad_step": ("Adagrad", {"lr": 0.3}, "step_gamma"),
    "adam_plateau": ("Adam", {"lr": 0.3}, "plateau"),
}

CLASS_WEIGHT = [0.5, 2.0, 1.0, 0.0]
LOSSES = {
    "cross_entropy": ("CrossEntropyLoss", {}),
    "cross_entropy_ignore": ("CrossEntropyLoss", {"ignore_index": 1}),
    "cross_entropy_smooth": ("CrossEntropyLoss", {"label_smoothing": 0.2}),
    "cross_entropy_weight": ("CrossEntropyLoss", {"weight": CLASS_WEIGHT}),
    "cross_entropy_all": (
        "CrossEntropyLoss",
        {"weight": CLASS_WEIGHT, "label_smoothing": 0.1, "ignore_index": 2},
    ),
    "bce": ("BCEWithLogitsLoss", {}),
    "bce_weight": ("BCEWithLogitsLoss", {"pos_weight": [3.0, 0.5, 1.0, 2.0]}),
    "mse": ("MSELoss", {}),
    "l1": ("L1Loss", {}),
    "huber": ("HuberLoss", {}),
    "huber_delta": ("HuberLoss", {"delta": 0.3}),
}


def schedule_of(name, optimiser):
    """Make a scheduler of the list above, and how to step it with a metric."""
    kind, options = SCHEDULES[name]
    scheduler = getattr(lr_scheduler, kind)(optimiser, **options)
    return scheduler.step if kind == "ReduceLROnPlateau" else lambda metric: scheduler.step()


def optimiser_case(seed, name, options, schedule=None):
    """Fifty steps, each an epoch."""
    rng = np.random.default_rng(seed)
    model = nn.Linear(3, 2).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.standard_normal(tuple(parameter.shape))))
    x = tensor(rng, (8, 4, 3), "float64").detach()
    target = tensor(rng, (8, 4, 2), "float64").detach()
    arrays = {"x": x, "target": target}
    arrays |= {f"before.{name}": p.detach().clone() for name, p in model.named_parameters()}
    optimiser = getattr(torch.optim, name)(model.parameters(), foreach=False, **options)
    step = schedule_of(schedule, optimiser) if schedule else lambda metric: None
    losses, params = [], []
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(model(x), target)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
        params.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        step(loss.item())
    arrays |= {"loss": torch.stack(losses), "params": torch.stack(params)}
    config = {"name": name, "options": options}
    if schedule:
        config["schedule"] = SCHEDULES[schedule]
    return config, arrays


def schedule_case(seed, name):
    """What is set before each step, without any training."""
    rng = np.random.default_rng(seed)
    metric = np.abs(np.cumsum(rng.standard_normal(STEPS))) + 0.5
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9)
    step = schedule_of(name, optimiser)
    group = optimiser.param_groups[0]
    rates, momenta = [group["lr"]], [group["momentum"]]
    for value in metric:
        step(value)
        rates.append(group["lr"])
        momenta.append(group["momentum"])
    arrays = {"lr": torch.tensor(rates, dtype=torch.float64), "metric": torch.from_numpy(metric)}
    arrays["momentum"] = torch.tensor(momenta, dtype=torch.float64)
    kind, options = SCHEDULES[name]
    return {"name": kind, "options": options}, arrays


def loss_case(seed, kind, options):
    """A loss of (12, 4) outputs and its gradient."""
    rng = np.random.default_rng(seed)
    outputs = tensor(rng, (12, 4), "float64", 2.0)
    if kind == "CrossEntropyLoss":
        target = torch.from_numpy(rng.integers(0, 4, 12))
    elif kind == "BCEWithLogitsLoss":
        target = torch.from_numpy(rng.random((12, 4)).round(1))
    else:
        target = tensor(rng, (12, 4), "float64").detach()
    tensors = {"weight", "pos_weight"}
    given = {
        name: torch.tensor(value, dtype=torch.float64) if name in tensors else value
        for name, value in options.items()
    }
    loss = getattr(nn, kind)(**given)(outputs, target)
    (gradient,) = torch.autograd.grad(loss, outputs)
    arrays = {"outputs": outputs, "target": target, "loss": loss, "gradient": gradient}
    return {"name": kind, "options": options}, arrays


def main():
    """Make the files; the seed of a case is its place in the list."""
    torch.set_num_threads(1)
    # Schedulers warn when they are stepped before their optimiser, which schedule_case never steps.
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    rows = [(name, *row, None) for name, row in OPTIMISERS.items()]
    rows += [(name, *row) for name, row in SCHEDULED.items()]
    save("optimisers.npz", {name: optimiser_case(n, *row) for n, (name, *row) in enumerate(rows)})
    save("schedules.npz", {name: schedule_case(n, name) for n, name in enumerate(SCHEDULES)})
    save("losses.npz", {name: loss_case(n, *row) for n, (name, row) in enumerate(LOSSES.items())})


if __name__ == "__main__":
    main()
