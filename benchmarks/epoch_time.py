"""Seconds an epoch of the chapter's network takes here and elsewhere, measured side by side.

    .venv/bin/pip install -r benchmarks/requirements.txt    # JAX and PyTorch, if wanted
    .venv/bin/python benchmarks/epoch_time.py [rounds]

Each contestant trains the same network with 550 batches of 100 images; this program also tests the
validation images after it, and "matrix products alone" only multiplies. In each round they take
turns, in random order: a new process, one epoch to warm up, three epochs to measure. New ones,
because a process may be faster or slower than the next for all its life. Printed are the medians
over all rounds, their ratio to this program's, and the peak memory of the process (on Linux).
"""

import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from data import read_data_sets  # noqa: E402

BATCH, LAYERS, Z, RATE = 100, [512, 256], 128, 0.001
EPOCHS = 3


def program():
    """One epoch as the script runs it: training, and the loss of the validation images."""
    import vae_mnist

    tf, tfs, graph, mnist = open_session()

    def epoch():
        # Epoch 1, because train() prints a line after epoch 0, and stdout is for the times.
        for _ in vae_mnist.train(tfs, graph, mnist.train, range(1, 2), BATCH):
            vae_mnist.evaluate(tfs, graph, mnist.validation.images)

    return epoch, f"TensorFlow {tf.__version__}"


def bare():
    """A session loop over the same graph, with nothing around it."""
    tf, tfs, graph, mnist = open_session()
    images = mnist.train.images

    def epoch():
        order = np.random.permutation(len(images))
        for i in range(0, len(images), BATCH):
            batch = images[order[i : i + BATCH]]
            tfs.run([graph.optimizer, graph.loss], feed_dict={graph.x: batch, graph.y: batch})

    return epoch, f"TensorFlow {tf.__version__}"


def open_session():
    """The script's graph in a session of its own, and the data."""
    import vae_mnist

    tf = vae_mnist.tf
    tf.logging.set_verbosity(tf.logging.ERROR)
    tfs = tf.InteractiveSession(graph=tf.Graph())
    graph = vae_mnist.build_graph()
    tf.global_variables_initializer().run()
    return tf, tfs, graph, read_data_sets()


def keras():
    """A Keras model and its fit()."""
    import tensorflow as tf

    dense = tf.keras.layers.Dense

    class Autoencoder(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder = [dense(n, activation="tanh") for n in LAYERS]
            self.mean, self.log_var = dense(Z), dense(Z)
            self.decoder = [dense(n, activation="tanh") for n in reversed(LAYERS)]
            self.logits = dense(784)

        def call(self, x):
            layer = x
            for encode in self.encoder:
                layer = encode(layer)
            mean, log_var = self.mean(layer), self.log_var(layer)
            layer = mean + tf.exp(0.5 * log_var) * tf.random.normal(tf.shape(mean))
            for decode in self.decoder:
                layer = decode(layer)
            logits = self.logits(layer)
            rec = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits)
            reg = -0.5 * tf.reduce_sum(1 + log_var - mean**2 - tf.exp(log_var), 1)
            self.add_loss(tf.reduce_mean(tf.reduce_sum(rec, 1) + reg))
            return logits

    images = read_data_sets().train.images
    model = Autoencoder()
    model.compile(optimizer=tf.keras.optimizers.Adam(RATE), jit_compile=False)
    return lambda: model.fit(images, batch_size=BATCH, verbose=0), f"Keras {tf.keras.__version__}"


def pytorch():
    """Eager PyTorch."""
    import torch

    linear = torch.nn.Linear
    sizes = [784, *LAYERS]

    class Autoencoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            pairs = list(zip(sizes, sizes[1:]))
            self.encoder = torch.nn.ModuleList([linear(n, m) for n, m in pairs])
            self.mean, self.log_var = linear(sizes[-1], Z), linear(sizes[-1], Z)
            self.first = linear(Z, sizes[-1])
            self.decoder = torch.nn.ModuleList([linear(m, n) for n, m in reversed(pairs)])

        def forward(self, x):
            layer = x
            for encode in self.encoder:
                layer = torch.tanh(encode(layer))
            mean, log_var = self.mean(layer), self.log_var(layer)
            layer = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
            layer = self.first(layer)
            for decode in self.decoder:
                layer = decode(torch.tanh(layer))
            rec = torch.nn.functional.binary_cross_entropy_with_logits(layer, x, reduction="sum")
            reg = -0.5 * torch.sum(1 + log_var - mean**2 - torch.exp(log_var))
            return (rec + reg) / len(x)

    images = torch.from_numpy(read_data_sets().train.images)
    model = Autoencoder()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)

    def epoch():
        order = torch.randperm(len(images))
        for i in range(0, len(images), BATCH):
            optimizer.zero_grad()
            loss = model(images[order[i : i + BATCH]])
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch, f"PyTorch {torch.__version__}"


def jax_jit():
    """JAX with a jitted step that updates its parameters in place; Adam by hand."""
    import jax
    import jax.numpy as jnp

    sizes = [784, *LAYERS]
    shapes = [*zip(sizes, sizes[1:]), (sizes[-1], Z), (sizes[-1], Z), (Z, sizes[-1])]
    shapes += [(m, n) for n, m in reversed(list(zip(sizes, sizes[1:])))]
    depth = len(LAYERS)
    glorot = jax.nn.initializers.glorot_uniform()
    keys = jax.random.split(jax.random.PRNGKey(0), len(shapes))
    params = [(glorot(key, shape), jnp.zeros(shape[1])) for key, shape in zip(keys, shapes)]

    def loss(params, x, key):
        layers = [lambda layer, w=w, b=b: layer @ w + b for w, b in params]
        layer = x
        for encode in layers[:depth]:
            layer = jnp.tanh(encode(layer))
        mean, log_var = layers[depth](layer), layers[depth + 1](layer)
        layer = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        layer = layers[depth + 2](layer)
        for decode in layers[depth + 3 :]:
            layer = decode(jnp.tanh(layer))
        rec = jnp.sum(jnp.logaddexp(0, layer) - x * layer)
        reg = -0.5 * jnp.sum(1 + log_var - mean**2 - jnp.exp(log_var))
        return (rec + reg) / len(x)

    def step(state, x):
        params, m, v, t, key = state
        key, noise = jax.random.split(key)
        value, g = jax.value_and_grad(loss)(params, x, noise)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate = RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, m, v)
        return (params, m, v, t, key), value

    step = jax.jit(step, donate_argnums=0)
    zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
    state = (params, *zeros, jnp.zeros(()), jax.random.PRNGKey(1))
    images = read_data_sets().train.images

    def epoch():
        nonlocal state
        order = np.random.permutation(len(images))
        for i in range(0, len(images), BATCH):
            state, value = step(state, images[order[i : i + BATCH]])
            float(value)

    return epoch, f"JAX {jax.__version__}"


def products():
    """The floor: the matrix products of the steps, in NumPy, and nothing else."""
    pairs = [(784, 512), (512, 256), (256, Z), (256, Z), (Z, 256), (256, 512), (512, 784)]
    rng = np.random.default_rng(0)
    layers = [
        [rng.standard_normal(s, dtype=np.float32) for s in ((BATCH, n), (n, m), (BATCH, m))]
        for n, m in pairs
    ]

    def epoch():
        for _ in range(550):
            for i, (x, w, gradient) in enumerate(layers):
                _ = x @ w
                _ = x.T @ gradient
                if i > 0:
                    _ = gradient @ w.T

    return epoch, f"NumPy {np.__version__}"


CONTESTANTS = {
    "this program": program,
    "bare session loop": bare,
    "Keras fit": keras,
    "PyTorch": pytorch,
    "JAX jit": jax_jit,
    "matrix products alone": products,
}


def work(name):
    """One turn, in a process of its own: prints the version, the epochs' seconds, the memory."""
    try:
        epoch, version = CONTESTANTS[name]()
    except ImportError:
        print("missing")
        return
    epoch()
    seconds = []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(version, *seconds, peak, sep="\n")


def processor():
    """The processor's name, as far as the system tells it."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    seconds = {name: [] for name in CONTESTANTS}
    peaks, versions = {}, {}
    for _ in range(rounds):
        for name in random.sample(list(seconds), len(seconds)):
            command = [sys.executable, __file__, "--work", name]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            lines = done.stdout.splitlines()
            if done.returncode != 0 or lines == ["missing"]:
                print(f"{name}: {'failed' if done.returncode else 'missing'}, left out")
                del seconds[name]
                continue
            versions[name] = lines[0]
            seconds[name] += [float(line) for line in lines[1:-1]]
            peaks[name] = int(lines[-1]) / 1024
    ours = statistics.median(seconds["this program"])
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print("| contestant | seconds an epoch | to this program | peak memory, MiB | version |")
    print("| --- | --- | --- | --- | --- |")
    for name, times in seconds.items():
        median = statistics.median(times)
        row = [name, f"{median:.2f}", f"{median / ours:.2f}", f"{peaks[name]:.0f}", versions[name]]
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2])
    else:
        main()
