"""The model written out anew in NumPy, in float64, and what it takes to compare the two.

The formulas are those of Kingma and Welling 2014. Parameters are a dict p by the book's names;
a batch is x, y and epsilon.
"""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


# For complex numbers too: see gradients().
ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda a: np.where(a.real > 0, a, 0),
    "sigmoid": sigmoid,
    "elu": lambda a: np.where(a.real > 0, a, np.exp(a) - 1),
    "softplus": lambda a: np.log(1 + np.exp(a)),
    "swish": lambda a: a * sigmoid(a),
}


def layer(p, name, h):
    return h @ p["w_" + name] + p["b_" + name]


def decode(p, z, activation="tanh"):
    """For each pixel, the probability that it is white."""
    h = z
    for i in reversed(range(sum(key.startswith("w_d_0") for key in p))):
        h = ACTIVATIONS[activation](layer(p, f"d_000{i}", h))
    return sigmoid(layer(p, "d_z_mean", h))


def forward(p, batch, activation="tanh"):
    """Everything up to the loss, by the names of the graph's parts."""
    x, y, epsilon = batch
    h = x
    for i in range(sum(key.startswith("w_e_0") for key in p)):
        h = ACTIVATIONS[activation](layer(p, f"e_000{i}", h))
    z_mean, z_log_var = layer(p, "e_z_mean", h), layer(p, "e_z_log_var", h)
    z = z_mean + np.exp(z_log_var / 2) * epsilon
    model = decode(p, z, activation)
    rec_loss = -np.sum(y * np.log(model) + (1 - y) * np.log(1 - model), axis=1)
    reg_loss = np.sum((z_mean**2 + np.exp(z_log_var) - z_log_var - 1) / 2, axis=1)
    return {
        "z_mean": z_mean,
        "z_log_var": z_log_var,
        "z": z,
        "model": model,
        "rec_loss": rec_loss,
        "reg_loss": reg_loss,
        "loss": np.mean(rec_loss + reg_loss),
    }


def gradients(p, batch, activation="tanh"):
    """The slope of the loss along each single number of each parameter.

    By a complex step: f(a + ih) = f(a) + ih f'(a) up to h squared, which is lost in rounding. So
    the slopes are exact, and nobody has worked out a derivative that could be wrong.
    """
    slopes = {key: np.empty(value.shape) for key, value in p.items()}
    for key, value in p.items():
        for index in np.ndindex(*value.shape):
            there = dict(p, **{key: value.astype(complex)})
            there[key][index] += 1e-30j
            slopes[key][index] = forward(there, batch, activation)["loss"].imag / 1e-30
    return slopes


def adam(p, batch, activation, rates):
    """The parameters before and after each step of Adam, one step for each learning rate.

    Kingma and Ba 2015, section 2: the form with epsilon hat, which is TensorFlow 1's.
    """
    m, v, history = dict.fromkeys(p, 0), dict.fromkeys(p, 0), [p]
    for t, rate in enumerate(rates, start=1):
        p = dict(p)
        for key, g in gradients(history[-1], batch, activation).items():
            m[key] = 0.9 * m[key] + 0.1 * g
            v[key] = 0.999 * v[key] + 0.001 * g**2
            corrected = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            p[key] = p[key] - corrected * m[key] / (np.sqrt(v[key]) + 1e-8)
        history.append(p)
    return history


def is_close(found, expected, tolerance):
    """Whether found is as near to expected, in proportion to that: where it is 0, exactly there."""
    assert np.shape(found) == np.shape(expected)
    off = np.linalg.norm(np.ravel(np.subtract(found, expected, dtype=np.float64)))
    return off <= tolerance * np.linalg.norm(np.ravel(expected))


def is_standard_normal(numbers):
    """Whether numbers, (n, ...), may be n draws: by their moments along axis 0.

    4.5 standard errors: a chance of less than 1 in 100,000 that such draws are refused.
    """
    n = len(numbers)
    moments = [(1, 0, 1), (2, 1, 2), (4, 3, 96)]  # the power, its mean, its variance
    return all(
        (np.abs((numbers**power).mean(axis=0) - mean) < 4.5 * np.sqrt(variance / n)).all()
        for power, mean, variance in moments
    )
