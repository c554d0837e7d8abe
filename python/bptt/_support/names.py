"""Names that users of Keras, torch and scikit-learn type, and what to type here instead.

Each table has the other library's names to the left, some to a row, and to the right the end of a
sentence: "type", and what, or "leave it out" and why.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache

#: Arguments. "fit.lr" is lr in `fit` alone. What begins with an argument ("rng=") is said only
#: where the function has that argument.
ARGUMENTS = {
    # fit, predict, evaluate
    "validation_data val_data eval_set": "type validation=(x, y)",
    "validation_split validation_fraction": "split the data yourself and type validation=(x, y): "
    "n = len(x) * 8 // 10, then fit(x[:n], y[:n], validation=(x[n:], y[n:]), ...)",
    "fit.verbose predict.verbose evaluate.verbose": "type progress=False to see nothing, "
    "progress=True for progress",
    "fit.learning_rate fit.lr fit.learning_rate_init": "the learning rate belongs to the "
    "optimiser, type optimizer=bptt.Adam(0.01)",
    "fit.optim fit.optimiser fit.opt fit.solver": "type optimizer=bptt.Adam()",
    "criterion loss_fn loss_function objective": 'type loss="mse" for numbers, or '
    'loss="cross_entropy" for classes',
    "n_epochs num_epochs nb_epoch max_epochs max_iter epoch iterations": "type epochs=10",
    "fit.batch fit.bs fit.minibatch": "type batch_size=32",
    "predict.batch_size evaluate.batch_size predict.steps evaluate.steps": "leave it out: the "
    "largest batch that is fast is chosen for you",
    "steps_per_epoch validation_steps validation_batch_size validation_freq workers max_queue_size "
    "use_multiprocessing num_workers": "leave it out: an epoch is all of x, or all batches of an "
    "iterable",
    "initial_epoch": "type checkpoint=path and resume=True to continue an earlier run",
    "class_weight": "the weights of classes belong to the loss, type "
    "loss=bptt.CrossEntropyLoss(weight=[1.0, 3.0])",
    "sample_weights weights": "type sample_weight=[...], a number for each sequence",
    "fit.patience": "type early_stopping=bptt.EarlyStopping(patience=5)",
    "fit.scheduler fit.lr_scheduler": "type schedule=bptt.StepLR(10)",
    "metric": 'type metrics=["accuracy"]',
    "callback": "type callbacks=[...]",
    "clip clipnorm clip_grad max_norm max_grad_norm grad_clip gradient_clip_val global_clipnorm": (
        "type clip_norm=1.0"
    ),
    "fit.clip_value fit.clipvalue": "type clip_norm=1.0, which scales all gradients together",
    "truncated_bptt_steps bptt_steps": "type tbptt=50",
    "accumulation accumulate_grad_batches gradient_accumulation_steps": "type accumulate=4",
    "return_dict": 'type metrics=["accuracy"], which gives a dict',
    "train_loader dataloader loader generator_ data dataset X": (
        "give it first, without a name: fit(x, y, ...), or fit(batches, ...)"
    ),
    "training": "leave it out: dropout acts in fit and in a layer's forward alone",
    # generate
    "max_new_tokens max_length length num_tokens n_tokens steps": "type n=20",
    "topk k": "type top_k=5",
    "temp": "type temperature=0.8",
    # layers
    "units hidden hidden_dim hidden_units num_units n_units n_hidden hidden_layer_sizes": (
        "type hidden_size=32"
    ),
    "input_dim input_shape input_features n_features features_in": "type input_size=1, the number "
    "of features of each step",
    "n_layers layers_ num_hidden_layers depth": "type num_layers=2",
    "use_bias": "type bias=False",
    "dropout_rate drop drop_prob": "type dropout=0.2",
    "return_sequences": "leave it out: layers give all steps, and bptt.LastStep() after them keeps "
    "the last",
    "return_state": "leave it out: y, state = layer(x), or model.predict(x, return_state=True)",
    "unroll time_major": "leave it out: models take (N, T, F), a layer alone (T, B, I)",
    "go_backwards": "type bidirectional=True, or reverse x with x[:, ::-1]",
    "LSTM.stateful GRU.stateful RNN.stateful": "give it to fit: model.fit(x, y, stateful=True, "
    "shuffle=False, ...)",
    "RNN.activation": 'type nonlinearity="relu"',
    "Linear.activation": 'leave it out: the losses "cross_entropy" and "bce_with_logits" take '
    "outputs without a softmax or sigmoid",
    "activation recurrent_activation": "leave it out: the gates have the usual sigmoid and tanh; "
    'only bptt.RNN takes nonlinearity="relu"',
    "kernel_initializer recurrent_initializer bias_initializer unit_forget_bias": "write the "
    'numbers after the layer is made: layer.parameters["weight_ih_l0"][:] = ...',
    "kernel_regularizer recurrent_regularizer bias_regularizer": "the decay of weights belongs to "
    "the optimiser, type bptt.AdamW(weight_decay=0.01)",
    "device": "leave it out: everything runs on the CPU",
    "Linear.units Linear.output_dim Linear.hidden_size Linear.output_size Linear.n_classes": (
        "type out_features=1"
    ),
    "Linear.input_dim Linear.input_size Linear.input_shape": "type in_features=32",
    "Embedding.input_dim Embedding.vocab_size Embedding.num_tokens Embedding.vocabulary_size": (
        "type num_embeddings=1000"
    ),
    "Embedding.output_dim Embedding.dim Embedding.embedding_size Embedding.features": (
        "type embedding_dim=32"
    ),
    "padding_idx mask_zero": "leave it out: give sequences of different lengths as a list of "
    "arrays, without padding",
    "num_classes n_classes depth_ vocab_size": "type classes=10",
    "rate Dropout.dropout prob": "type p=0.2",
    "epsilon": "type eps=1e-8",
    "seed random_state generator": "type rng=0",
    "Sequential.layers": "type bptt.Sequential(bptt.LSTM(1, 32), bptt.Linear(32, 1))",
    "trainable name": "leave it out",
    # optimisers, losses, schedules, early stopping
    "learning_rate learning_rate_init": "type lr=0.001",
    "beta_1 beta_2 beta1 beta2": "type betas=(0.9, 0.999)",
    "decay l2": "type weight_decay=0.01",
    "rho": "type alpha=0.99",
    "params parameters": "leave it out: fit gives the parameters to the optimiser, type "
    "bptt.Adam(0.001)",
    "amsgrad maximize foreach fused differentiable capturable": "leave it out",
    "from_logits": "leave it out: outputs are always taken as logits",
    "reduction size_average reduce": "leave it out: a loss is always a mean",
    "ignore_class ignore": "type ignore_index=0",
    "smoothing": "type label_smoothing=0.1",
    "beta": "type delta=1.0",
    "last_epoch": "leave it out: the model keeps the state of a schedule",
    "restore_best restore_best_model": "type restore_best_weights=True",
    "EarlyStopping.delta EarlyStopping.tol": "type min_delta=0.001",
    "monitor_metric metric_name quantity": 'type monitor="validation_loss"',
}

#: Attributes of a model.
MODEL = {
    "compile": 'loss and optimizer are arguments of fit, type model.fit(x, y, loss="mse", '
    "optimizer=bptt.Adam(), epochs=10)",
    "eval": "leave it out: predict and evaluate never use dropout",
    "train training": 'dropout acts in fit alone, and to train type model.fit(x, y, loss="mse", '
    "optimizer=bptt.Adam())",
    "parameters weights trainable_weights trainable_variables variables": "type "
    "model.named_parameters() to see them; an optimiser needs none, type bptt.Adam(0.001)",
    "zero_grad backward step optimizer_step train_on_batch fit_generator training_step": "fit does "
    'all steps of training, type model.fit(x, y, loss="mse", optimizer=bptt.Adam())',
    "forward call apply": "type model(x) or model.predict(x)",
    "add append add_module": "type bptt.Sequential(*model.layers, bptt.Linear(32, 1))",
    "to cuda cpu half float double": "leave it out: everything runs on the CPU, in the dtype of "
    'the layers, bptt.LSTM(1, 32, dtype="float64")',
    "get_weights": "type model.state_dict()",
    "set_weights load_weights": "type model.load_state_dict(weights), or bptt.load(path)",
    "save_weights save_model": "type model.save(path)",
    "load load_model": "type bptt.load(path)",
    "predict_classes": "type model.predict(x).argmax(axis=-1)",
    "predict_proba predict_on_batch": "type model.predict(x); the softmax of logits z is "
    "np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)",
    "score test_on_batch test": 'type model.evaluate(x, y, loss="mse")',
    "get_layer": "type model.layers[0]",
    "reset_states": "leave it out: fit, predict and evaluate start from zeros",
    "loss optimizer metrics": "give it to fit: model.fit(x, y, loss=..., optimizer=..., "
    "metrics=[...])",
    "requires_grad_ requires_grad trainable": "every layer learns; restore the numbers of a layer "
    "that must not, in a callback",
    "build": "leave it out: layers have their parameters when they are made",
    "history_ loss_curve_": "type model.history",
    "fit_transform transform": "type model.predict(x)",
}

#: Attributes of a layer.
LAYER = {
    "eval train training": "leave it out: layer(x) never uses dropout, layer.forward(x) does",
    "get_weights": "type layer.state_dict()",
    "set_weights": "type layer.load_state_dict(weights)",
    "weights named_parameters kernel recurrent_kernel": "type layer.parameters, a dict of arrays",
    "units": "type layer.hidden_size",
    "zero_grad": "leave it out: backward returns new gradients",
    "flatten_parameters": "leave it out",
    "to cuda cpu float double": "leave it out: everything runs on the CPU, in the dtype of the "
    'layer, bptt.LSTM(1, 32, dtype="float64")',
}

#: Names of the module.
MODULE = {
    "Dense": "type bptt.Linear(32, 1): the features of its input, then those of its output",
    "TimeDistributed": "leave it out: bptt.Linear applies to every step",
    "SimpleRNN": "type bptt.RNN(1, 32)",
    "LSTMCell GRUCell RNNCell SimpleRNNCell": "type layer.stepper(), for one step at a time",
    "Bidirectional": "type bptt.LSTM(1, 32, bidirectional=True)",
    "CuDNNLSTM": "type bptt.LSTM(1, 32)",
    "CuDNNGRU": "type bptt.GRU(1, 32)",
    "Input InputLayer": "leave it out: a layer is told its input, bptt.LSTM(1, 32)",
    "Masking pad_sequence pad_sequences pack_padded_sequence pad_packed_sequence": "give sequences "
    "of different lengths as a list of arrays, without padding",
    "Flatten GlobalAveragePooling1D Lambda": "type bptt.LastStep() for one output a sequence",
    "LayerNormalization BatchNormalization BatchNorm1d": "type bptt.LayerNorm(32)",
    "SpatialDropout1D Dropout1d": "type bptt.Dropout(0.2)",
    "Softmax LogSoftmax softmax": 'leave it out: the loss "cross_entropy" takes logits',
    "Sigmoid sigmoid": 'leave it out: the loss "bce_with_logits" takes logits',
    "Activation ReLU Tanh relu": "leave it out: bptt has no layers that are a function alone",
    "Model Module Functional": "type bptt.Sequential(bptt.LSTM(1, 32), bptt.Linear(32, 1))",
    "nn": "leave it out, type bptt.LSTM(1, 32)",
    "optim": "leave it out, type bptt.Adam()",
    "utils datasets keras": "bptt takes NumPy arrays as they are",
    "load_model": "type bptt.load(path)",
    "save save_model": "type model.save(path)",
    "tensor Tensor from_numpy as_tensor Variable": "bptt takes NumPy arrays as they are",
    "no_grad enable_grad inference_mode": "leave it out: predict keeps no gradients",
    "DataLoader TensorDataset Dataset": "give fit arrays, or an iterable of batches (x, y)",
    "manual_seed seed set_seed set_random_seed": "give layers and fit a seed: "
    "bptt.LSTM(1, 32, rng=0), model.fit(..., rng=0)",
    "to_categorical one_hot": 'leave it out: the loss "cross_entropy" takes the classes themselves',
    "clip_grad_norm_": "type model.fit(..., clip_norm=1.0)",
    "NLLLoss SparseCategoricalCrossentropy CategoricalCrossentropy CrossEntropy": (
        "type bptt.CrossEntropyLoss()"
    ),
    "BCELoss BinaryCrossentropy": "type bptt.BCEWithLogitsLoss()",
    "MeanSquaredError MSE": "type bptt.MSELoss()",
    "MeanAbsoluteError MAE MAELoss": "type bptt.L1Loss()",
    "SmoothL1Loss Huber": "type bptt.HuberLoss()",
    "Adadelta Adamax NAdam RAdam Nadam Lion LBFGS": "type bptt.Adam() or bptt.AdamW()",
    "ExponentialLR ExponentialDecay LambdaLR MultiStepLR": "type bptt.StepLR(1, gamma=0.95)",
    "CosineDecay CosineAnnealingWarmRestarts": "type bptt.CosineAnnealingLR(100)",
    "ReduceLROnPlateauScheduler": "type bptt.ReduceLROnPlateau()",
    "device cuda": "leave it out: everything runs on the CPU",
    "fit train": 'type model.fit(x, y, loss="mse", optimizer=bptt.Adam())',
}

#: Names of numbers in a history, and in what callbacks are given.
HISTORY = {
    "val_loss": "validation_loss",
    "val_acc val_accuracy": "validation_accuracy",
    "val_rmse val_root_mean_squared_error": "validation_rmse",
    "val_perplexity": "validation_perplexity",
    "acc": "accuracy",
    "train_loss training_loss history": "loss",
    "learning_rate": "lr",
    "root_mean_squared_error": "rmse",
}

#: Names of losses.
LOSSES = {
    "categorical_crossentropy sparse_categorical_crossentropy crossentropy cross-entropy ce nll "
    "nll_loss crossentropyloss softmax log_loss": "cross_entropy",
    "binary_crossentropy bce bcewithlogits bce_loss bcewithlogitsloss": "bce_with_logits",
    "mean_squared_error l2 mseloss squared_error mse_loss": "mse",
    "mean_absolute_error l1 l1loss absolute_error mae_loss l1_loss": "mae",
    "smooth_l1 huber_loss smoothl1loss huberloss": "huber",
}

#: Names of metrics.
METRICS = {
    "acc categorical_accuracy sparse_categorical_accuracy binary_accuracy": "accuracy",
    "root_mean_squared_error rootmeansquarederror mse mean_squared_error": "rmse",
    "ppl": "perplexity",
}

Table = dict[str, str]


@cache
def _entries(table: str) -> Table:
    """Return a table with one name to a row."""
    rows: Table = globals()[table]
    return {name: answer for names, answer in rows.items() for name in names.split()}


def answer(table: str, name: object) -> str | None:
    """Return the answer to another library's name, or None."""
    return _entries(table).get(name) if isinstance(name, str) else None


def near(name: object, known: Iterable[str]) -> str | None:
    """Return the known name that this one is an answer to or a misspelling of, or None."""
    found = difflib.get_close_matches(name.lower(), known, 1, 0.75) if isinstance(name, str) else []
    return found[0] if found else None


def argument(function: str, name: str, known: Iterable[str]) -> str:
    """Return what to type for an argument that a function does not have.

    `function` is its name, of a class for its constructor, and `known` are its arguments.
    """
    known = list(known)
    entries = _entries("ARGUMENTS")
    for told in (entries.get(f"{function}.{name}"), entries.get(name)):
        if told is not None and _fits(told, known):
            return told
    if (close := near(name, known)) is not None:
        return f"type {close}=..."
    return f"its arguments are {', '.join(known)}"


def _fits(told: str, known: list[str]) -> bool:
    """Tell whether an answer names an argument that the function has, if it names one."""
    argument, found, _ = told.removeprefix("type ").partition("=")
    return not (told.startswith("type ") and found and argument.isidentifier()) or argument in known


def no_attribute(owner: str, table: str, name: str, known: str = "") -> AttributeError:
    """Return the error of an attribute that is not there; `known` is for one that nobody knows."""
    told = answer(table, name)
    return AttributeError(f"{owner} has no attribute {name!r}" + (f": {told}" if told else known))
