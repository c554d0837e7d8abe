//! Denormal numbers: neither the caller's floating-point mode nor the mode of the pool's threads shows in
//! results.
#![cfg(target_arch = "x86_64")]

use std::arch::asm;
use std::time::{Duration, Instant};

use bptt::{
    Dataset, Embedding, GRU, Inputs, LSTM, Layer, LayerNorm, Linear, Loss, Optimizer, Progress,
    Rule, Sequential, Targets, Trainer, set_num_threads,
};

/// MXCSR as the system starts a thread, with flush-to-zero, with denormals-are-zero, and with both.
const MODES: [u32; 4] = [0x1f80, 0x9f80, 0x1fc0, 0x9fc0];

/// Runs `work` with MXCSR at `mode`.
#[allow(unsafe_code)]
fn in_mode<T>(mode: u32, work: impl FnOnce() -> T) -> T {
    let mut before = 0u32;
    // SAFETY: both read and write one number, and the mode comes back before this function returns.
    unsafe {
        asm!("stmxcsr [{}]", in(reg) &mut before, options(nostack));
        asm!("ldmxcsr [{}]", in(reg) &mode, options(nostack));
    }
    let result = work();
    // SAFETY: as above.
    unsafe { asm!("ldmxcsr [{}]", in(reg) &before, options(nostack)) };
    result
}

/// The parameters after some steps of training on data of a scale.
fn trained(layers: &[Layer], loss: &Loss, rule: Rule, scale: f32) -> Vec<u32> {
    let mut model = Sequential::<f32>::new(layers.to_vec()).unwrap();
    let tokens = matches!(layers[0], Layer::Embedding(_));
    for (i, p) in model.params.iter_mut().enumerate() {
        *p = 0.3 * scale * (i as f32 * 1.3).sin();
    }
    let (rows, steps) = (20, 180);
    let x: Vec<f32> = (0..rows * steps * 3).map(|i| scale * (i as f32 * 0.7).cos()).collect();
    let words: Vec<u32> = (0..rows * steps).map(|i| (i * i % 7) as u32).collect();
    let offsets: Vec<usize> = (0..=rows).map(|row| row * steps).collect();
    let values: Vec<f32> = (0..rows * 4).map(|i| (i as f32).sin().abs()).collect();
    let classes: Vec<u32> = (0..rows).map(|row| (row % 4) as u32).collect();
    let targets = match loss {
        Loss::CrossEntropy { .. } => Targets::Classes(&classes),
        _ => Targets::Values(&values),
    };
    let inputs = if tokens { Inputs::Tokens(&words) } else { Inputs::Features(&x) };
    let data = Dataset::per_sequence(inputs, targets, &offsets).unwrap();
    let optimizer = Optimizer::new(rule, 0.01, 0.01).unwrap();
    let trainer = Trainer::new(model, loss.clone(), optimizer, Some(0.5)).unwrap();
    let mut trainer = trainer.with_accumulation(2).unwrap();
    let order: Vec<usize> = (0..rows).collect();
    for _ in 0..4 {
        let until = Instant::now() + Duration::from_secs(600);
        trainer.train(&data, &order, 5, Progress::default(), until).unwrap();
    }
    trainer.model.params.iter().map(|p| p.to_bits()).collect()
}

#[test]
fn the_floating_point_mode_of_a_thread_does_not_show() {
    let layers = |first: [Layer; 2]| {
        let norm = Layer::LayerNorm(LayerNorm::new(8, 1e-5, true, true).unwrap());
        let linear = Layer::Linear(Linear::new(8, 4, true).unwrap());
        vec![first[0], first[1], norm, Layer::LastStep, linear]
    };
    let gru = GRU::new(8, 4, true).unwrap().bidirectional();
    let lstm = |inputs| Layer::LSTM(LSTM::new(inputs, 8, true).unwrap());
    let models = [
        layers([lstm(3), Layer::Dropout(0.2)]),
        layers([Layer::Embedding(Embedding::new(7, 8).unwrap()), lstm(8)]),
        vec![
            lstm(3),
            Layer::GRU(gru),
            Layer::LastStep,
            Layer::Linear(Linear::new(8, 4, true).unwrap()),
        ],
    ];
    let losses = [
        Loss::cross_entropy(),
        Loss::BinaryCrossEntropy { pos_weight: None },
        Loss::MeanSquaredError,
        Loss::MeanAbsoluteError,
        Loss::Huber { delta: 0.1 },
    ];
    let rules = [
        Rule::SGD { momentum: 0.9, nesterov: false },
        Rule::Adam { betas: (0.9, 0.999), eps: 1e-8, decoupled: true },
        Rule::RMSprop { alpha: 0.99, eps: 1e-8, momentum: 0.9, centered: true },
        Rule::Adagrad { lr_decay: 0.0, eps: 1e-10 },
    ];
    for (n, loss) in losses.iter().enumerate() {
        let (layers, rule) = (&models[n % models.len()], rules[n % rules.len()]);
        for scale in [1.0, 1e-19, 1e-36] {
            set_num_threads(1).unwrap();
            let want = in_mode(MODES[0], || trained(layers, loss, rule, scale));
            for (mode, threads) in MODES.into_iter().zip([2, 1, 3, 2]) {
                set_num_threads(threads).unwrap();
                let got = in_mode(mode, || trained(layers, loss, rule, scale));
                assert!(got == want, "{loss:?}, scale {scale}, mode {mode:x}, {threads} threads");
            }
        }
    }
}
