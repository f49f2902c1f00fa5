"""Seconds an epoch of the book's network takes here and elsewhere, measured side by side.

    .venv/bin/pip install -r benchmarks/requirements.txt    # JAX and PyTorch, if wanted
    .venv/bin/python benchmarks/epoch_time.py [rounds [contestant ...]]

Each contestant trains the same network with 550 batches of 100 images; this program also looks at
the validation images after each epoch, and "matrix products alone" only multiplies. Keras and
PyTorch run as one writes them at first, and as fast as their own settings make them. In each round
all take turns, in random order: a new process, one epoch to warm up, three to measure. New ones,
because a process may be faster or slower than the next for all its life. Printed are medians over
all rounds, and the lowest and highest. The start-up is all that precedes the end of the first epoch
but an epoch: imports, data, and whatever is compiled. The memory is the peak of the process (on
Linux).
"""

import json
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from statistics import median, median_low

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from data import read_data_sets  # noqa: E402

BATCH, N_BATCHES, EPOCHS, Z, RATE = 100, 550, 3, 128, 0.001
STEPS = 55  # in a call of those that take several: as many as in one of --xla

# A contestant gets ready and returns its version, and a function that trains for an epoch.


def program(xla=False, bare=False):
    """This program: an epoch is its training, and the loss of the validation images.

    bare: only a session loop over its graph, with nothing around it.
    """
    import vae_mnist
    from extras.compiled import compile_steps
    from extras.evaluation import evaluate

    tf, mnist = vae_mnist.tf, read_data_sets()
    tfs = tf.InteractiveSession(graph=tf.Graph())
    vae = vae_mnist.VAE()
    steps, batch_size = vae, BATCH
    if xla:
        steps, batch_size = compile_steps(vae, vae_mnist.draw_epsilon, BATCH, N_BATCHES)
    tf.global_variables_initializer().run()
    images = mnist.validation.images

    def epoch():
        vae_mnist.train_epoch(tfs, steps, mnist, 1, batch_size)  # 1: one that prints nothing
        evaluate(tfs, vae, images, images)

    def bare_epoch():
        for rows in np.random.permutation(mnist.train.num_examples).reshape(-1, BATCH):
            batch = mnist.train.images[rows]
            tfs.run([vae.optimizer, vae.loss], feed_dict={vae.x: batch, vae.y: batch})

    return f"TensorFlow {tf.__version__}", bare_epoch if bare else epoch


def keras(backend="tensorflow", **settings):
    """A Keras model and its fit(), compiled with these settings."""
    os.environ["KERAS_BACKEND"] = backend
    import keras
    from keras import ops

    seed = keras.random.SeedGenerator()
    normal = partial(keras.random.normal, seed=seed)
    if backend == "tensorflow":
        from tensorflow.random import normal  # Keras's own is slow there, above all compiled

    tanh, linear = (partial(keras.layers.Dense, activation=name) for name in ("tanh", "linear"))

    class Autoencoder(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder = keras.Sequential([tanh(512), tanh(256)])
            self.mean, self.log_var = linear(Z), linear(Z)
            self.decoder = keras.Sequential([tanh(256), tanh(512), linear(784)])
            self.seed = seed  # or Keras does not find it

        def call(self, x):
            layer = self.encoder(x)
            mean, log_var = self.mean(layer), self.log_var(layer)
            epsilon = normal(ops.shape(mean))
            logits = self.decoder(mean + ops.exp(0.5 * log_var) * epsilon)
            rec = ops.sum(ops.binary_crossentropy(x, logits, from_logits=True))
            reg = -0.5 * ops.sum(1 + log_var - ops.square(mean) - ops.exp(log_var))
            self.add_loss((rec + reg) / BATCH)
            return logits

    images, model = read_data_sets().train.images, Autoencoder()
    model.compile(optimizer=keras.optimizers.Adam(RATE), **settings)
    epoch = partial(model.fit, images, batch_size=BATCH, verbose=0)
    return f"Keras {keras.__version__}, {backend}", epoch


def pytorch(compiled=False):
    """PyTorch, eager, or compiled with its fused Adam."""
    import torch
    from torch.nn import Linear, Sequential, Tanh

    if compiled and not shutil.which(os.environ.get("CXX", "g++")):
        raise ImportError("torch.compile needs a C++ compiler")

    class Autoencoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = Sequential(Linear(784, 512), Tanh(), Linear(512, 256), Tanh())
            self.mean, self.log_var = Linear(256, Z), Linear(256, Z)
            hidden = [Linear(Z, 256), Tanh(), Linear(256, 512), Tanh()]
            self.decoder = Sequential(*hidden, Linear(512, 784))

        def forward(self, x):
            layer = self.encoder(x)
            mean, log_var = self.mean(layer), self.log_var(layer)
            logits = self.decoder(mean + torch.exp(0.5 * log_var) * torch.randn_like(mean))
            entropy = torch.nn.functional.binary_cross_entropy_with_logits
            rec = entropy(logits, x, reduction="sum")
            reg = -0.5 * torch.sum(1 + log_var - mean**2 - torch.exp(log_var))
            return (rec + reg) / BATCH

    images, model = torch.from_numpy(read_data_sets().train.images), Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=compiled)
    loss_of = torch.compile(model) if compiled else model

    def epoch():
        for rows in torch.randperm(len(images)).reshape(-1, BATCH):
            optimizer.zero_grad()
            loss = loss_of(images[rows])
            loss.backward()
            optimizer.step()
            loss.item()

    return f"PyTorch {torch.__version__}", epoch


def jax(scan):
    """JAX with a jitted step, or STEPS of them as one jitted scan, in place."""
    import jax
    import jax.numpy as jnp
    from jax.example_libraries.optimizers import adam
    from jax.example_libraries.stax import Dense, FanOut, Tanh, parallel, serial

    hidden = [Dense(512), Tanh, Dense(256), Tanh]
    encoder = serial(*hidden, FanOut(2), parallel(Dense(Z), Dense(Z)))
    decoder = serial(Dense(256), Tanh, Dense(512), Tanh, Dense(784))
    start, update, params_of = adam(RATE)
    key = jax.random.PRNGKey(0)
    # Of both, [0] makes the parameters, and [1] is the function.
    state = start([part[0](key, (BATCH, n))[1] for part, n in ((encoder, 784), (decoder, Z))])

    def loss(params, x, epsilon):
        mean, log_var = encoder[1](params[0], x)
        logits = decoder[1](params[1], mean + jnp.exp(0.5 * log_var) * epsilon)
        rec = jnp.sum(jnp.logaddexp(0, logits) - x * logits)
        reg = -0.5 * jnp.sum(1 + log_var - mean**2 - jnp.exp(log_var))
        return (rec + reg) / BATCH

    def step(carry, batch):
        t, state = carry
        value, gradients = jax.value_and_grad(loss)(params_of(state), *batch)
        return (t + 1, update(t, gradients, state)), value

    @partial(jax.jit, donate_argnums=(0, 1))
    def call(carry, key, x):
        key, noise = jax.random.split(key)
        batch = x, jax.random.normal(noise, (*x.shape[:-1], Z))
        carry, values = jax.lax.scan(step, carry, batch) if scan else step(carry, batch)
        return carry, key, values

    images, carry = read_data_sets().train.images, (jnp.zeros(()), state)
    shape = (-1, STEPS, BATCH) if scan else (-1, BATCH)

    def epoch():
        nonlocal carry, key
        for rows in np.random.permutation(len(images)).reshape(shape):
            carry, key, values = call(carry, key, images[rows])
            np.asarray(values)

    return f"JAX {jax.__version__}", epoch


def products():
    """The matrix products of the steps, in NumPy, and nothing else."""
    pairs = [(784, 512), (512, 256), (256, Z), (256, Z), (Z, 256), (256, 512), (512, 784)]
    normal = partial(np.random.default_rng(0).standard_normal, dtype=np.float32)
    layers = [[normal(s) for s in ((BATCH, n), (n, m), (BATCH, m))] for n, m in pairs]

    def epoch():
        for _ in range(N_BATCHES):
            for i, (x, w, gradient) in enumerate(layers):
                _ = x @ w
                _ = x.T @ gradient
                if i > 0:
                    _ = gradient @ w.T

    return f"NumPy {np.__version__}", epoch


COMPILED = {"jit_compile": True, "steps_per_execution": STEPS}
CONTESTANTS = {
    "this program": program,
    "this program, --xla": partial(program, xla=True),
    "bare session loop": partial(program, bare=True),
    "Keras fit": partial(keras, jit_compile=False),
    "Keras fit, compiled": partial(keras, **COMPILED),
    "Keras fit on JAX": partial(keras, "jax", **COMPILED),
    "PyTorch": pytorch,
    "PyTorch, compiled": partial(pytorch, compiled=True),
    "JAX jit": partial(jax, scan=False),
    "JAX scan": partial(jax, scan=True),
    "matrix products alone": products,
}


def work(name, launched):
    """One turn, in a process of its own, launched at that time; its last line is for main()."""
    version, epoch = CONTESTANTS[name]()
    ends = [float(launched)]
    for _ in range(1 + EPOCHS):
        epoch()
        ends.append(time.time())
    first, *seconds = np.diff(ends)
    # The median of a process: processes differ more than the epochs of one.
    usual = median(seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # in MiB on Linux
    print(json.dumps([usual, first - usual, peak, version]))


def main(rounds=7, *names):
    turns = {name: [] for name in names or CONTESTANTS}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    for _ in range(int(rounds)):
        for name in random.sample(list(turns), len(turns)):
            command = [sys.executable, __file__, "--work", name, str(time.time())]
            with tempfile.TemporaryDirectory() as cache:  # or PyTorch compiles only the first time
                env = {**quiet, "TORCHINDUCTOR_CACHE_DIR": cache}
                done = subprocess.run(command, env=env, capture_output=True, text=True)
            if done.returncode == 0:
                turns[name].append(json.loads(done.stdout.splitlines()[-1]))
            else:
                error = (done.stderr.splitlines() or ["no message"])[-1]
                print(f"{name} is left out: {error}", flush=True)
                del turns[name]

    # median_low: it takes a version, too.
    middle = {name: [median_low(fact) for fact in zip(*turns[name])] for name in turns}
    heads = [f"{os.cpu_count()} cores, Python {platform.python_version()}", "seconds an epoch"]
    heads += ["lowest to highest", "start-up, s", "peak memory, MiB", "version"]
    rows = [heads, ["---"] * len(heads)]
    for name, (seconds, start_up, peak, version) in middle.items():
        usual = [turn[0] for turn in turns[name]]
        span = f"{min(usual):.2f} to {max(usual):.2f}"
        rows.append([name, f"{seconds:.2f}", span, f"{start_up:.1f}", f"{peak:.0f}", version])
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    work(*sys.argv[2:]) if sys.argv[1:2] == ["--work"] else main(*sys.argv[1:])
