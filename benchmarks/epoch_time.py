"""Seconds an epoch of the chapter's network takes here and elsewhere, measured side by side.

    .venv/bin/pip install -r benchmarks/requirements.txt    # JAX and PyTorch, if wanted
    .venv/bin/python benchmarks/epoch_time.py [rounds]

Each contestant trains the same network with 550 batches of 100 images; this program also looks at
the validation images after each epoch, and "matrix products alone" only multiplies. In each round
they take turns, in random order: a new process, one epoch to warm up, three epochs to measure. New
ones, because a process may be faster or slower than the next for all its life. Then the start-up is
measured, in turns as well. Printed are the medians over all rounds, ratios of them, and the peak
memory of the process (on Linux).
"""

import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPT = os.path.join(ROOT, "vae_mnist.py")
sys.path.insert(0, ROOT)

from data import read_data_sets  # noqa: E402

BATCH, LAYERS, Z, RATE = 100, [512, 256], 128, 0.001
N_BATCHES = 550
EPOCHS = 3
STEPS = 55  # in a call of JAX scan: as many as in one of --xla


def program(xla=False):
    """The epochs as the script runs them: training, and the loss of the validation images."""
    import vae_mnist
    from harness.compiled import compiled_session
    from harness.finite import StopAtNan
    from harness.hooks import Hook, Hooks

    class Clock(Hook):
        def __init__(self):
            self.times = []

        def after_epoch(self, tfs, average_loss):
            self.times.append(time.perf_counter())

    tf = vae_mnist.tf
    tf.logging.set_verbosity(tf.logging.ERROR)
    mnist, rng = read_data_sets(), np.random.default_rng()
    trained, looked = Clock(), Clock()
    with tf.Graph().as_default(), tempfile.TemporaryDirectory() as folder:
        graph, session = vae_mnist.build_graph(), tf.Session
        args = SimpleNamespace(batch_size=BATCH, denoise=False, mixed_noise=False)
        if xla:
            session = compiled_session(graph, args, N_BATCHES, first_epoch=1)
        beyond = vae_mnist.BeyondTheChapter(graph, mnist, rng, np.asarray, folder)
        beyond.after_training = beyond.end = lambda tfs: None
        vae_mnist.train_and_reconstruct(
            graph,
            mnist,
            vae_mnist.draw_test_images(mnist.test, 4, rng),
            # Not from epoch 0, after which a line is printed: stdout is for the times.
            range(1, 2 + EPOCHS),
            figures_dir=folder,
            hooks=Hooks(StopAtNan(), trained, beyond, looked),
            session=session,
        )
    seconds = np.diff(looked.times)
    look = np.subtract(looked.times, trained.times)[1:]
    return [*seconds], f"TensorFlow {tf.__version__}", 100 * np.median(look / seconds)


def program_compiled():
    """The same with --xla."""
    return program(xla=True)


def measured(epoch, version):
    """The seconds of each of EPOCHS calls of epoch(), after one to warm up."""
    epoch()
    seconds = []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - start)
    return seconds, version, None


def bare():
    """A session loop over the script's graph, with nothing around it."""
    import vae_mnist

    tf = vae_mnist.tf
    tf.logging.set_verbosity(tf.logging.ERROR)
    tfs = tf.InteractiveSession(graph=tf.Graph())
    graph = vae_mnist.build_graph()
    tf.global_variables_initializer().run()
    images = read_data_sets().train.images

    def epoch():
        order = np.random.permutation(len(images))
        for i in range(0, len(images), BATCH):
            batch = images[order[i : i + BATCH]]
            tfs.run([graph.optimizer, graph.loss], feed_dict={graph.x: batch, graph.y: batch})

    return measured(epoch, f"TensorFlow {tf.__version__}")


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
    fit = lambda: model.fit(images, batch_size=BATCH, verbose=0)  # noqa: E731
    return measured(fit, f"Keras {tf.keras.__version__}")


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

    return measured(epoch, f"PyTorch {torch.__version__}")


def jax_step():
    """The first state of JAX's training, and a step: from a state, x and noise to a state and loss.

    Adam by hand.
    """
    import jax
    import jax.numpy as jnp

    sizes = [784, *LAYERS]
    shapes = [*zip(sizes, sizes[1:]), (sizes[-1], Z), (sizes[-1], Z), (Z, sizes[-1])]
    shapes += [(m, n) for n, m in reversed(list(zip(sizes, sizes[1:])))]
    depth = len(LAYERS)
    glorot = jax.nn.initializers.glorot_uniform()
    keys = jax.random.split(jax.random.PRNGKey(0), len(shapes))
    params = [(glorot(key, shape), jnp.zeros(shape[1])) for key, shape in zip(keys, shapes)]

    def loss(params, x, noise):
        layers = [lambda layer, w=w, b=b: layer @ w + b for w, b in params]
        layer = x
        for encode in layers[:depth]:
            layer = jnp.tanh(encode(layer))
        mean, log_var = layers[depth](layer), layers[depth + 1](layer)
        layer = layers[depth + 2](mean + jnp.exp(0.5 * log_var) * noise)
        for decode in layers[depth + 3 :]:
            layer = decode(jnp.tanh(layer))
        rec = jnp.sum(jnp.logaddexp(0, layer) - x * layer)
        reg = -0.5 * jnp.sum(1 + log_var - mean**2 - jnp.exp(log_var))
        return (rec + reg) / len(x)

    def step(state, batch):
        params, m, v, t = state
        value, g = jax.value_and_grad(loss)(params, *batch)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        rate = RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, m, v)
        return (params, m, v, t), value

    zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
    return (params, *zeros, jnp.zeros(())), step


def jax_jit():
    """JAX with a jitted step that updates its parameters in place."""
    import jax

    state, step = jax_step()

    def one(state, key, x):
        key, noise = jax.random.split(key)
        state, value = step(state, (x, jax.random.normal(noise, (BATCH, Z))))
        return state, key, value

    one = jax.jit(one, donate_argnums=(0, 1))
    key = jax.random.PRNGKey(1)
    images = read_data_sets().train.images

    def epoch():
        nonlocal state, key
        order = np.random.permutation(len(images))
        for i in range(0, len(images), BATCH):
            state, key, value = one(state, key, images[order[i : i + BATCH]])
            float(value)

    return measured(epoch, f"JAX {jax.__version__}")


def jax_scan():
    """JAX with STEPS steps as one jitted scan, in place, and their noise drawn at once."""
    import jax

    state, step = jax_step()

    def several(state, key, x):
        key, noise = jax.random.split(key)
        noise = jax.random.normal(noise, (STEPS, BATCH, Z))
        state, values = jax.lax.scan(step, state, (x, noise))
        return state, key, values

    several = jax.jit(several, donate_argnums=(0, 1))
    key = jax.random.PRNGKey(1)
    images = read_data_sets().train.images

    def epoch():
        nonlocal state, key
        for group in np.random.permutation(len(images)).reshape(-1, STEPS, BATCH):
            state, key, values = several(state, key, images[group])
            np.asarray(values)

    return measured(epoch, f"JAX {jax.__version__}")


def products():
    """The floor: the matrix products of the steps, in NumPy, and nothing else."""
    pairs = [(784, 512), (512, 256), (256, Z), (256, Z), (Z, 256), (256, 512), (512, 784)]
    rng = np.random.default_rng(0)
    layers = [
        [rng.standard_normal(s, dtype=np.float32) for s in ((BATCH, n), (n, m), (BATCH, m))]
        for n, m in pairs
    ]

    def epoch():
        for _ in range(N_BATCHES):
            for i, (x, w, gradient) in enumerate(layers):
                _ = x @ w
                _ = x.T @ gradient
                if i > 0:
                    _ = gradient @ w.T

    return measured(epoch, f"NumPy {np.__version__}")


CONTESTANTS = {
    "this program": program,
    "this program, --xla": program_compiled,
    "bare session loop": bare,
    "Keras fit": keras,
    "PyTorch": pytorch,
    "JAX jit": jax_jit,
    "JAX scan": jax_scan,
    "matrix products alone": products,
}
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}


def work(name):
    """One turn, in a process of its own: prints version, memory, the look's share, seconds."""
    try:
        seconds, version, look = CONTESTANTS[name]()
    except ImportError:
        print("missing")
        return
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(version, peak, look, *seconds, sep="\n")


def start_ups():
    """Seconds to start, by what is started: each in a new process."""
    quiet = {"stderr": subprocess.DEVNULL, "env": ENVIRONMENT}
    seconds = {}
    for module in ("tensorflow.compat.v1", "vae_mnist"):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, check=True, **quiet)
        seconds[f"import {module}"] = time.perf_counter() - start
    for name, flags in (("default", []), ("--xla", ["--xla"])):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, SCRIPT, "--n-epochs", "1", "--figures-dir", folder, *flags]
            start = time.perf_counter()
            with subprocess.Popen(command, stdout=subprocess.PIPE, **quiet) as process:
                process.stdout.readline()
                seconds[f"first line of output, {name}"] = time.perf_counter() - start
    return seconds


def processor():
    """The processor's name, as far as the system tells it."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def print_table(*rows):
    """Print rows of cells, the first of them the heads, as Markdown."""
    rows = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    for row in rows:
        print(f"| {' | '.join(row)} |")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    seconds = {name: [] for name in CONTESTANTS}
    looks = {name: [] for name in CONTESTANTS}
    peaks, versions, starts = {}, {}, {}
    for _ in range(rounds):
        for name in random.sample(list(seconds), len(seconds)):
            command = [sys.executable, __file__, "--work", name]
            done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
            lines = done.stdout.splitlines()
            if done.returncode != 0 or lines == ["missing"]:
                print(f"{name}: {'failed' if done.returncode else 'missing'}, left out")
                del seconds[name]
                continue
            versions[name] = lines[0]
            peaks[name] = int(lines[1]) / 1024
            looks[name].append(lines[2])
            # The median of a process: processes differ more than the epochs of one.
            seconds[name].append(statistics.median(float(line) for line in lines[3:]))
        for name, start in start_ups().items():
            starts.setdefault(name, []).append(start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    heads = ["contestant", "seconds an epoch", "to this program", "to JAX jit", "to JAX scan"]
    rows = []
    for name, median in medians.items():
        row = [name, f"{median:.2f}"]
        for other in ("this program", "JAX jit", "JAX scan"):
            row.append(f"{median / medians[other]:.2f}" if other in medians else "")
        rows.append([*row, f"{peaks[name]:.0f}", versions[name]])
    print_table([*heads, "peak memory, MiB", "version"], *rows)
    for name in (name for name in ("this program", "this program, --xla") if name in seconds):
        look = statistics.median(float(share) for share in looks[name])
        print(f"{name}: {look:.1f} % of it is its look at the validation images")
    rows = [[name, f"{statistics.median(times):.2f}"] for name, times in starts.items()]
    print_table(["start-up", "seconds"], *rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2])
    else:
        main()
