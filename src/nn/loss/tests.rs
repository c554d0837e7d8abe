//! Compares gradients of losses with central differences, and tests what losses refuse.

use super::*;

fn classes_and_numbers<'a>(loss: &Loss, classes: &'a [u32], values: &'a [f64]) -> Targets<'a, f64> {
    match loss {
        Loss::CrossEntropy { .. } => Targets::Classes(classes),
        _ => Targets::Values(values),
    }
}

fn losses() -> Vec<Loss> {
    let weight = || Some(vec![0.5, 2.0, 0.25]);
    vec![
        Loss::cross_entropy(),
        Loss::CrossEntropy { label_smoothing: 0.1, weight: None },
        Loss::CrossEntropy { label_smoothing: 0.0, weight: weight() },
        Loss::CrossEntropy { label_smoothing: 0.3, weight: weight() },
        Loss::BinaryCrossEntropy { pos_weight: None },
        Loss::BinaryCrossEntropy { pos_weight: weight() },
        Loss::MeanSquaredError,
        Loss::MeanAbsoluteError,
        Loss::Huber { delta: 0.8 },
    ]
}

#[test]
fn gradients_are_central_differences() {
    let mut z = vec![0.3, -1.2, 2.0, 0.1, 0.0, 3.0, 1.0, -4.0, 0.5];
    let values = [0.5, 0.25, 0.0, 1.0, 0.75, 0.9, 1.0, 0.0, 0.2];
    for factors in [None, Some(&[0.5, 3.0, 1.0][..]), Some(&[0.0, 1.0, 0.0])] {
        for loss in losses() {
            let targets = classes_and_numbers(&loss, &[2, 0, IGNORED], &values);
            let mut gradient = vec![0.0; 9];
            let to = RowsMut::new(&mut gradient, 3, 3);
            let recorded = loss.of(Rows::new(&z, 3, 3), targets, factors, Some(to)).unwrap();
            let of = |z: &[f64]| loss.of(Rows::new(z, 3, 3), targets, factors, None).unwrap();
            assert_eq!(of(&z), recorded, "the same with and without the gradient");
            for i in 0..9 {
                let kept = z[i];
                let step = 1e-6;
                z[i] = kept + step;
                let up = of(&z);
                z[i] = kept - step;
                let down = of(&z);
                z[i] = kept;
                let slope = (up - down) / (2.0 * step);
                assert!(
                    (slope - gradient[i]).abs() < 1e-7,
                    "{loss:?} {factors:?} {i}: {slope} {}",
                    gradient[i]
                );
            }
        }
    }
}

#[test]
fn the_mean_is_that_of_the_tokens_by_what_they_count() {
    let z = [0.3, -1.2, 2.0, 0.1, 0.0, 3.0, 1.0, 1.0, 9.0];
    let values = [0.5, 0.25, 1.0, 0.0, 0.0, 0.5, 0.0, 1.0, 0.0];
    for loss in losses() {
        let targets = classes_and_numbers(&loss, &[2, 0, IGNORED], &values);
        let counts: Vec<_> = (0..3).map(loss.counts(targets)).collect();
        let of =
            |factors: Option<&[f64]>| loss.of(Rows::new(&z, 3, 3), targets, factors, None).unwrap();
        let one = |n: usize| of(Some(&[0, 1, 2].map(|m| if m == n { 1.0 } else { 0.0 })));
        let want = (one(0) + one(1) + one(2)) / counts.iter().sum::<f64>();
        assert!((of(None) - want).abs() < 1e-12, "{loss:?}: {} {want}", of(None));
        assert!(
            (of(Some(&[0.5, 3.0, 1.0])) - (0.5 * one(0) + 3.0 * one(1) + one(2))).abs() < 1e-12
        );
    }
}

#[test]
fn tokens_that_are_all_ignored_cost_nothing() {
    let mut gradient = [7.0f32; 4];
    let to = RowsMut::new(&mut gradient, 2, 2);
    let z = [1.0f32, 2.0, 3.0, 4.0];
    let targets = Targets::Classes(&[IGNORED; 2]);
    let loss = Loss::cross_entropy().of(Rows::new(&z, 2, 2), targets, None, Some(to)).unwrap();
    assert_eq!((loss, gradient), (0.0, [0.0; 4]));
}

#[test]
fn large_logits_do_not_overflow() {
    let z = [800.0, -800.0];
    let mut gradient = [7.0; 2];
    for (loss, targets, want, slopes) in [
        (losses().swap_remove(0), Targets::Classes(&[1]), 1600.0, [1.0, -1.0]),
        (losses().swap_remove(4), Targets::Values(&[0.0, 1.0]), 800.0, [0.5, -0.5]),
        (losses().swap_remove(4), Targets::Values(&[1.0, 0.0]), 0.0, [0.0, 0.0]),
    ] {
        let to = RowsMut::new(&mut gradient, 1, 2);
        assert_eq!(loss.of(Rows::new(&z, 1, 2), targets, None, Some(to)).unwrap(), want);
        assert_eq!(gradient, slopes, "{loss:?}");
    }
}

#[test]
fn what_is_not_a_number_stays_one() {
    for loss in losses() {
        let z = [f64::NAN, 1.0, 2.0];
        let targets = classes_and_numbers(&loss, &[1], &[0.0, 1.0, 0.5]);
        let mut gradient = [0.0; 3];
        let to = RowsMut::new(&mut gradient, 1, 3);
        assert!(loss.of(Rows::new(&z, 1, 3), targets, None, Some(to)).unwrap().is_nan());
        assert!(gradient[0].is_nan(), "{loss:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let z = [0.0f32; 6];
    let mut gradient = [7.0f32; 6];
    let mut of = |loss: Loss, targets: Targets<'_, f32>, factors: Option<&[f64]>| {
        let gradient = RowsMut::new(&mut gradient, 2, 3);
        let z = Rows::new(&z, 2, 3);
        loss.of(z, targets, factors, Some(gradient)).unwrap_err().to_string()
    };
    let cross_entropy = Loss::cross_entropy;
    assert!(of(cross_entropy(), Targets::Classes(&[0, 3]), None).contains("class 3"));
    assert!(of(cross_entropy(), Targets::Classes(&[0]), None).contains("1 target"));
    assert!(of(cross_entropy(), Targets::Values(&z), None).contains("integer classes"));
    let classes = Targets::Classes(&[0, 1]);
    for loss in losses().into_iter().skip(4) {
        assert!(of(loss.clone(), classes, None).contains("real numbers"));
        assert!(of(loss, Targets::Values(&z[..5]), None).contains("5 targets for 6"));
    }
    assert!(of(cross_entropy(), classes, Some(&[1.0; 3])).contains("3 factors for 2"));
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        let at_least = "at least 0 and finite";
        let error = of(cross_entropy(), classes, Some(&[1.0, bad]));
        assert!(error.contains(at_least), "{error}");
        let weight = Some(vec![1.0, 1.0, bad]);
        let weighted = Loss::CrossEntropy { label_smoothing: 0.0, weight: weight.clone() };
        assert!(of(weighted, classes, None).contains(at_least));
        let weighted = Loss::BinaryCrossEntropy { pos_weight: weight };
        assert!(of(weighted, Targets::Values(&z), None).contains(at_least));
        let huber = Loss::Huber { delta: bad };
        assert!(of(huber, Targets::Values(&z), None).contains("above 0"));
        let smooth = Loss::CrossEntropy { label_smoothing: bad, weight: None };
        assert!(of(smooth, classes, None).contains("label_smoothing"));
    }
    let weighted = Loss::CrossEntropy { label_smoothing: 0.0, weight: Some(vec![1.0; 2]) };
    assert!(of(weighted, classes, None).contains("must have 3 numbers"));
    assert_eq!(gradient, [7.0; 6]);
}

#[test]
fn what_has_weight_0_is_not_read() {
    let nan = f64::NAN;
    let z = [0.3, -1.2, 2.0, nan, nan, nan, 1.0, -4.0, f64::INFINITY];
    let clean = [0.3, -1.2, 2.0, 0.0, 0.0, 0.0, 1.0, -4.0, 0.5];
    let values = [0.5, 0.25, 0.0, nan, 0.75, 0.9, 1.0, nan, 0.2];
    let clean_values = [0.5, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let factors = [0.5, 0.0, 0.0];
    for loss in losses() {
        let of = |z: &[f64], values: &[f64]| {
            let targets = classes_and_numbers(&loss, &[2, 0, 1], values);
            let mut gradient = vec![7.0; 9];
            let to = RowsMut::new(&mut gradient, 3, 3);
            let all = loss.of(Rows::new(z, 3, 3), targets, Some(&factors), Some(to)).unwrap();
            assert_eq!(loss.of(Rows::new(z, 3, 3), targets, Some(&factors), None).unwrap(), all);
            (all, gradient)
        };
        let (got, gradient) = of(&z, &values);
        assert_eq!((got, gradient.clone()), of(&clean, &clean_values), "{loss:?}");
        assert!(got > 0.0 && gradient[3..] == [0.0; 6], "{loss:?} {gradient:?}");
    }
    // Classes of weight 0, ignored tokens, and positive targets of weight 0.
    let weight = Some(vec![0.0, 1.0, 1.0]);
    let loss = Loss::CrossEntropy { label_smoothing: 0.0, weight };
    let mut gradient = vec![7.0; 9];
    let to = RowsMut::new(&mut gradient, 3, 3);
    let targets = Targets::Classes(&[2, 0, IGNORED]);
    let got = loss.of(Rows::new(&z, 3, 3), targets, None, Some(to)).unwrap();
    assert!(got.is_finite() && gradient[3..] == [0.0; 6], "{got} {gradient:?}");
    let loss = Loss::BinaryCrossEntropy { pos_weight: Some(vec![0.0, 1.0]) };
    let mut gradient = vec![7.0; 2];
    let to = RowsMut::new(&mut gradient, 1, 2);
    let z = [nan, 1.0];
    let got = loss.of(Rows::new(&z, 1, 2), Targets::Values(&[1.0, 1.0]), None, Some(to)).unwrap();
    assert!(got.is_finite() && gradient[0] == 0.0, "{got} {gradient:?}");
    // What has a weight is read.
    let targets = Targets::Values(&values);
    assert!(
        Loss::MeanSquaredError.of(Rows::new(&clean, 3, 3), targets, None, None).unwrap().is_nan()
    );
}
