"""The lab's formulas in plain NumPy, as published: what `bptt.lab` is compared with.

Written from the formulas alone, step by step, sharing no code with the package. The tests take it
as the truth; `benches/lab.py` as the NumPy loop that the core replaces.
"""

import numpy as np

EPSILON = 1e-12


def init_orthogonal(param):
    """Orthogonal values in the shape of `param`, from the global generator."""
    rows, columns = param.shape
    draw = np.random.randn(rows, columns)  # noqa: NPY002
    if rows < columns:
        draw = draw.T
    q, r = np.linalg.qr(draw)
    q = q * np.sign(np.diag(r))
    return q.T if rows < columns else q


def init_rnn(hidden_size, vocab_size):
    """U, V, W, b_hidden, b_out."""
    U = init_orthogonal(np.zeros((hidden_size, vocab_size)))
    V = init_orthogonal(np.zeros((hidden_size, hidden_size)))
    W = init_orthogonal(np.zeros((vocab_size, hidden_size)))
    return U, V, W, np.zeros((hidden_size, 1)), np.zeros((vocab_size, 1))


def init_lstm(hidden_size, vocab_size, z_size):
    """W_f, W_i, W_g, W_o, W_v, b_f, b_i, b_g, b_o, b_v."""
    shapes = [(hidden_size, z_size)] * 4 + [(vocab_size, hidden_size)]
    for shape in shapes:  # drawn and thrown away
        np.random.randn(*shape)  # noqa: NPY002
    weights = [init_orthogonal(np.zeros(shape)) for shape in shapes]
    return (*weights, *(np.zeros((shape[0], 1)) for shape in shapes))


def sigmoid(x, derivative=False):
    """Of x + 1e-12."""
    f = 1 / (1 + np.exp(-(x + EPSILON)))
    return f * (1 - f) if derivative else f


def tanh(x, derivative=False):
    """Of x + 1e-12."""
    f = np.tanh(x + EPSILON)
    return 1 - f**2 if derivative else f


def softmax(x):
    """Over axis 0."""
    x = x + EPSILON
    e = np.exp(x - np.max(x))
    return e / np.sum(e, axis=0)


def clip_gradient_norm(grads, max_norm=0.25):
    """In place."""
    norm = np.sqrt(sum(np.sum(np.power(grad, 2)) for grad in grads))
    scale = max_norm / (norm + 1e-6)
    if scale < 1:
        for grad in grads:
            grad *= scale
    return grads


def update_parameters(params, grads, lr=1e-3):
    """In place."""
    for param, grad in zip(params, grads, strict=True):
        param -= lr * grad
    return params


def forward_pass(inputs, hidden_state, params):
    """Part 1: outputs and hidden states, a list of T columns each."""
    U, V, W, b_hidden, b_out = params
    outputs, hidden_states = [], []
    for x in inputs:
        hidden_state = tanh(np.dot(U, x) + np.dot(V, hidden_state) + b_hidden)
        outputs.append(softmax(np.dot(W, hidden_state) + b_out))
        hidden_states.append(hidden_state.copy())
    return outputs, hidden_states


def backward_pass(inputs, outputs, hidden_states, targets, params):
    """Part 1, as published."""
    U, V, W, b_hidden, b_out = params
    d_U, d_V, d_W = np.zeros_like(U), np.zeros_like(V), np.zeros_like(W)
    d_b_hidden, d_b_out = np.zeros_like(b_hidden), np.zeros_like(b_out)
    d_h_next = np.zeros_like(hidden_states[0])
    loss = 0
    for t in reversed(range(len(outputs))):
        loss += -np.mean(targets[t] * (np.log(outputs[t]) + EPSILON))
        d_o = outputs[t].copy()
        d_o[np.argmax(targets[t])] -= 1
        d_W += np.dot(d_o, hidden_states[t].T)
        d_b_out += d_o
        d_h = np.dot(W.T, d_o) + d_h_next
        d_f = d_h * tanh(hidden_states[t], derivative=True)
        d_b_hidden += d_f
        d_U += np.dot(d_f, inputs[t].T)
        d_V += np.dot(d_f, hidden_states[t - 1].T)
        d_h_next = np.dot(V.T, d_f)
    return loss, clip_gradient_norm((d_U, d_V, d_W, d_b_hidden, d_b_out))


def forward(inputs, h_prev, C_prev, p):
    """Part 2: z, f, i, g, C, o, h, v, outputs."""
    W_f, W_i, W_g, W_o, W_v, b_f, b_i, b_g, b_o, b_v = p
    z_s, f_s, i_s, g_s, C_s, o_s, h_s, v_s, output_s = [], [], [], [], [], [], [], [], []
    h_s.append(h_prev)
    C_s.append(C_prev)
    for x in inputs:
        z = np.vstack((h_prev, x))
        f = sigmoid(np.dot(W_f, z) + b_f)
        i = sigmoid(np.dot(W_i, z) + b_i)
        g = tanh(np.dot(W_g, z) + b_g)
        C_prev = f * C_prev + i * g
        o = sigmoid(np.dot(W_o, z) + b_o)
        h_prev = o * tanh(C_prev)
        v = np.dot(W_v, h_prev) + b_v
        values = (z, f, i, g, C_prev, o, h_prev, v, softmax(v))
        for kept, value in zip((z_s, f_s, i_s, g_s, C_s, o_s, h_s, v_s, output_s), values):
            kept.append(value)
    return z_s, f_s, i_s, g_s, C_s, o_s, h_s, v_s, output_s


def backward(z, f, i, g, C, o, h, v, outputs, targets, p):
    """Part 2, as published."""
    W_v = p[4]
    grads = tuple(np.zeros_like(param) for param in p)
    W_f_d, W_i_d, W_g_d, W_o_d, W_v_d, b_f_d, b_i_d, b_g_d, b_o_d, b_v_d = grads
    loss = 0
    for t in reversed(range(len(outputs))):
        loss += -np.mean(targets[t] * np.log(outputs[t]))
        dv = np.copy(outputs[t])
        dv[np.argmax(targets[t])] -= 1
        W_v_d += np.dot(dv, h[t].T)
        b_v_d += dv
        dh = np.dot(W_v.T, dv)
        do = sigmoid(o[t], True) * dh * tanh(C[t])
        dC = dh * o[t] * tanh(tanh(C[t]), True)
        dg = sigmoid(g[t], True) * dC * i[t]
        di = sigmoid(i[t], True) * dC * g[t]
        df = sigmoid(f[t]) * dC * C[t - 1]
        for W_d, b_d, d in (
            (W_f_d, b_f_d, df),
            (W_i_d, b_i_d, di),
            (W_g_d, b_g_d, dg),
            (W_o_d, b_o_d, do),
        ):
            W_d += np.dot(d, z[t].T)
            b_d += d
    return loss, clip_gradient_norm(grads)


def sequences(count=100, seed=2023):
    """The lab's sequences as token numbers: a = 0, b = 1, EOS = 2."""
    np.random.seed(seed)  # noqa: NPY002
    draws = [np.random.randint(1, 12) for _ in range(count)]  # noqa: NPY002
    return [[0] * n + [1] * n + [2] for n in draws]


def one_hot(tokens, vocab_size=4):
    """(T, V, 1)"""
    return np.eye(vocab_size)[tokens][..., None]


def train(step, params, epochs, lr, hidden_size=50):
    """The published loop; `step(inputs, targets, h, params)` gives loss and gradients."""
    data = sequences()
    train_set, validation_set = data[:80], data[80:90]
    losses = []
    for _ in range(epochs):
        totals = [0.0, 0.0]
        for which, part in ((1, validation_set), (0, train_set)):
            for tokens in part:
                inputs, targets = one_hot(tokens[:-1]), one_hot(tokens[1:])
                loss, grads = step(inputs, targets, np.zeros((hidden_size, 1)), params)
                if which == 0:
                    update_parameters(params, grads, lr)
                totals[which] += loss
        losses.append((totals[0] / len(train_set), totals[1] / len(validation_set)))
    return losses


def train_rnn(epochs, hidden_size=50):
    """The losses of part 1 (training, validation), an epoch each."""

    def step(inputs, targets, h, params):
        outputs, hidden_states = forward_pass(inputs, h, params)
        return backward_pass(inputs, outputs, hidden_states, targets, params)

    np.random.seed(2023)  # noqa: NPY002
    init_rnn(hidden_size, 4)
    params = init_rnn(hidden_size, 4)
    return train(step, params, epochs, 3e-4), params


def train_lstm(epochs, hidden_size=50):
    """The losses of part 2 (training, validation), an epoch each."""

    def step(inputs, targets, h, params):
        kept = forward(inputs, h, np.zeros_like(h), params)
        return backward(*kept, targets, params)

    np.random.seed(2023)  # noqa: NPY002
    init_lstm(hidden_size, 4, hidden_size + 4)
    params = init_lstm(hidden_size, 4, hidden_size + 4)
    return train(step, params, epochs, 0.1), params
