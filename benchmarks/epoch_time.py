"""Seconds an epoch of the chapter's network takes here and elsewhere, measured side by side.

    .venv/bin/pip install -r benchmarks/requirements.txt    # JAX and PyTorch, if wanted
    .venv/bin/python benchmarks/epoch_time.py [rounds [contestant ...]]

Each contestant trains the same network with 550 batches of 100 images; this program also looks at
the validation images after each epoch, and "matrix products alone" only multiplies. Keras and
PyTorch run as one writes them at first, and as fast as their own settings make them. In each round
all take turns, in random order: a new process, one epoch to warm up, three to measure. New ones,
because a process may be faster or slower than the next for all its life. Then the start-up is
measured, in turns as well. Printed are the medians over all rounds and their ratios, how much
longer the first epoch takes, mostly to compile, and the peak memory of the process (on Linux).
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
from statistics import median

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from data import read_data_sets  # noqa: E402

BATCH, N_BATCHES, EPOCHS, Z, RATE = 100, 550, 3, 128, 0.001
STEPS = 55  # in a call of those that take several: as many as in one of --xla


def measured(version, epoch):
    """What main() is to know of a contestant that trains for an epoch in each call of epoch()."""
    seconds = []
    for _ in range(1 + EPOCHS):
        start = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - start)
    # The median of a process: processes differ more than the epochs of one.
    usual = median(seconds[1:])
    return {"version": version, "seconds": usual, "first": seconds[0] - usual}


def program(xla=False, bare=False):
    """This program: an epoch is its training, and the loss of the validation images.

    bare: only a session loop over its graph, with nothing around it.
    """
    import vae_mnist
    from extras.compiled import compile_steps
    from extras.evaluation import evaluate

    tf = vae_mnist.tf
    tf.logging.set_verbosity(tf.logging.ERROR)
    mnist, looks = read_data_sets(), []
    tfs = tf.InteractiveSession(graph=tf.Graph())
    vae = vae_mnist.VAE()
    trained, k = compile_steps(vae, vae_mnist.draw_epsilon, BATCH, N_BATCHES) if xla else (vae, 1)
    tf.global_variables_initializer().run()
    epochs = vae_mnist.train(tfs, trained, mnist, range(1, 2 + EPOCHS), k * BATCH)

    def epoch():
        next(epochs)
        start = time.perf_counter()
        evaluate(tfs, vae, mnist.validation.images)
        looks.append(time.perf_counter() - start)

    def bare_epoch():
        for rows in np.random.permutation(mnist.train.num_examples).reshape(-1, BATCH):
            batch = mnist.train.images[rows]
            tfs.run([vae.optimizer, vae.loss], feed_dict={vae.x: batch, vae.y: batch})

    facts = measured(f"TensorFlow {tf.__version__}", bare_epoch if bare else epoch)
    return facts if bare else {**facts, "look": median(looks[1:])}


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

    images = read_data_sets().train.images
    model = Autoencoder()
    model.compile(optimizer=keras.optimizers.Adam(RATE), **settings)
    fit = partial(model.fit, images, batch_size=BATCH, verbose=0)
    return measured(f"Keras {keras.__version__}, {backend}", fit)


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

    images = torch.from_numpy(read_data_sets().train.images)
    model = Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=compiled)
    loss_of = torch.compile(model) if compiled else model

    def epoch():
        for rows in torch.randperm(len(images)).reshape(-1, BATCH):
            optimizer.zero_grad()
            loss = loss_of(images[rows])
            loss.backward()
            optimizer.step()
            loss.item()

    return measured(f"PyTorch {torch.__version__}", epoch)


def jax(scan):
    """JAX with a jitted step, or STEPS of them as one jitted scan, in place; Adam by hand."""
    import jax
    import jax.numpy as jnp
    from jax.example_libraries.stax import Dense, FanOut, Tanh, parallel, serial

    hidden = [Dense(512), Tanh, Dense(256), Tanh]
    encoder = serial(*hidden, FanOut(2), parallel(Dense(Z), Dense(Z)))
    decoder = serial(Dense(256), Tanh, Dense(512), Tanh, Dense(784))
    key = jax.random.PRNGKey(0)
    # Of both, [0] makes the parameters, and [1] is the function.
    params = [part[0](key, (BATCH, n))[1] for part, n in ((encoder, 784), (decoder, Z))]

    def loss(params, x, epsilon):
        mean, log_var = encoder[1](params[0], x)
        logits = decoder[1](params[1], mean + jnp.exp(0.5 * log_var) * epsilon)
        rec = jnp.sum(jnp.logaddexp(0, logits) - x * logits)
        reg = -0.5 * jnp.sum(1 + log_var - mean**2 - jnp.exp(log_var))
        return (rec + reg) / BATCH

    def step(state, batch):
        params, m, v, t = state
        value, g = jax.value_and_grad(loss)(params, *batch)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate = RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, m, v)
        return (params, m, v, t), value

    @partial(jax.jit, donate_argnums=(0, 1))
    def call(state, key, x):
        key, noise = jax.random.split(key)
        batch = x, jax.random.normal(noise, (*x.shape[:-1], Z))
        state, values = jax.lax.scan(step, state, batch) if scan else step(state, batch)
        return state, key, values

    images = read_data_sets().train.images
    zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
    state = (params, *zeros, jnp.zeros(()))
    shape = (-1, STEPS, BATCH) if scan else (-1, BATCH)

    def epoch():
        nonlocal state, key
        for rows in np.random.permutation(len(images)).reshape(shape):
            state, key, values = call(state, key, images[rows])
            np.asarray(values)

    return measured(f"JAX {jax.__version__}", epoch)


def products():
    """The floor: the matrix products of the steps, in NumPy, and nothing else."""
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

    return measured(f"NumPy {np.__version__}", epoch)


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
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}


def work(name):
    """One turn, in a process of its own; the last line it prints is for main()."""
    facts = CONTESTANTS[name]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # in MiB on Linux
    print(json.dumps({**facts, "peak": peak}))


def start_ups():
    """Seconds to start, by what is started: each in a new process."""
    quiet = {"stderr": subprocess.DEVNULL, "env": ENVIRONMENT, "cwd": ROOT}
    seconds = {}
    for module in ("tensorflow.compat.v1", "vae_mnist"):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True, **quiet)
        seconds[f"import {module}"] = time.perf_counter() - start
    for name, flags in (("default", []), ("--xla", ["--xla"])):
        with tempfile.TemporaryDirectory() as folder:
            flags = ["--n-epochs", "1", "--figures-dir", folder, *flags]
            command = [sys.executable, "vae_mnist.py", *flags]
            start = time.perf_counter()
            with subprocess.Popen(command, stdout=subprocess.PIPE, **quiet) as process:
                process.stdout.readline()
                seconds[f"first line of output, {name}"] = time.perf_counter() - start
    return seconds


def processor():
    """The processor's name, as far as the system tells it."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def print_table(heads, rows):
    """Print it as Markdown."""
    for row in [heads, ["---"] * len(heads), *rows]:
        print(f"| {' | '.join(row)} |")


def main(rounds=7, *names):
    turns = {name: [] for name in names or CONTESTANTS}
    starts = []
    for _ in range(int(rounds)):
        for name in random.sample(list(turns), len(turns)):
            command = [sys.executable, __file__, "--work", name]
            done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
            if done.returncode != 0:
                error = (done.stderr.splitlines() or ["no message"])[-1]
                print(f"{name} is left out: {error}", flush=True)
                del turns[name]
                continue
            turns[name].append(json.loads(done.stdout.splitlines()[-1]))
        starts.append(start_ups())

    def middle(name, fact="seconds"):
        return median(facts[fact] for facts in turns[name])

    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    others = [name for name in ("this program", "JAX jit", "JAX scan") if name in turns]
    heads = ["contestant", "seconds an epoch", *(f"to {other}" for other in others)]
    rows = []
    for name in turns:
        ratios = [f"{middle(name) / middle(other):.2f}" for other in others]
        more = [f"{middle(name, 'first'):+.1f}", f"{middle(name, 'peak'):.0f}"]
        rows.append([name, f"{middle(name):.2f}", *ratios, *more, turns[name][0]["version"]])
    print_table([*heads, "first epoch, s more", "peak memory, MiB", "version"], rows)
    for name in turns:
        if "look" in turns[name][0]:
            share = 100 * middle(name, "look") / middle(name)
            print(f"{name}: {share:.1f} % of it is its look at the validation images")
    rows = [[what, f"{median(start[what] for start in starts):.2f}"] for what in starts[0]]
    print_table(["start-up", "seconds"], rows)


if __name__ == "__main__":
    work(sys.argv[2]) if sys.argv[1:2] == ["--work"] else main(*sys.argv[1:])
