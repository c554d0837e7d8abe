//! The linear layer: `y = x W' + b`, with W (out, in), as in torch.

use crate::error::{Result, ensure};
use crate::matmul::outer::{OuterMemory, OuterProducts, Target};
use crate::matmul::panel::{Columns, Panels};
use crate::matmul::product::product;
use crate::simd::{Element, Kernel, Level, Simd};
use crate::threads;
use crate::view::{Rows, RowsMut};

/// A linear layer. Its parameters are a flat slice: `weight` (out, in), then `bias` (out,), if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    in_features: usize,
    out_features: usize,
    bias: bool,
}

/// Memory of a linear layer, reused between calls: packed weights, and blocks for the gradients.
#[derive(Default)]
pub struct LinearMemory<E: Element> {
    /// W', packed with K = in.
    weights: Panels<E>,
    /// W, packed with K = out, for dx.
    back: Panels<E>,
    outer: Vec<OuterMemory<E>>,
}

impl Linear {
    /// A layer from `in_features` to `out_features` features.
    ///
    /// # Errors
    /// If a size is zero, or the sizes are too large for memory.
    pub fn new(in_features: usize, out_features: usize, bias: bool) -> Result<Self> {
        ensure!(in_features > 0, "in_features must be at least 1, got 0");
        ensure!(out_features > 0, "out_features must be at least 1, got 0");
        let len = in_features.checked_mul(out_features);
        ensure!(
            len.is_some_and(|len| len < isize::MAX as usize / 64),
            "a layer with in_features {in_features} and out_features {out_features} does not fit in memory; \
             use smaller sizes"
        );
        Ok(Self { in_features, out_features, bias })
    }

    /// The number of input features.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// The number of output features.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// The names and shapes of the parameters, in order. The names are torch's.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let mut parameters = vec![("weight".into(), vec![self.out_features, self.in_features])];
        if self.bias {
            parameters.push(("bias".into(), vec![self.out_features]));
        }
        parameters
    }

    /// The number of numbers in all parameters.
    pub fn parameter_len(&self) -> usize {
        self.out_features * (self.in_features + usize::from(self.bias))
    }

    fn flops(&self, rows: usize) -> usize {
        (2 * self.out_features * self.in_features).saturating_mul(rows)
    }

    fn check<E>(&self, params: &[E], x: (usize, usize), y: (usize, usize)) -> Result<()> {
        let len = self.parameter_len();
        ensure!(
            params.len() == len,
            "the layer's parameters have {len} numbers, got {}",
            params.len()
        );
        let want = (x.0, self.in_features);
        ensure!(x == want, "x must be {want:?} (rows, features), got {x:?}");
        let want = (x.0, self.out_features);
        ensure!(y == want, "y must be {want:?} (rows, features), got {y:?}");
        Ok(())
    }

    /// Writes `x W' + b` for every row of x (N, in) to y (N, out).
    ///
    /// # Errors
    /// If a size does not fit the layer; nothing is written then.
    pub fn forward<E: Element>(
        &self,
        params: &[E],
        x: Rows<'_, E>,
        y: RowsMut<'_, E>,
        memory: &mut LinearMemory<E>,
    ) -> Result<()> {
        let y_shape = (y.count(), y.as_ref().features());
        self.check(params, (x.count(), x.features()), y_shape)?;
        let (weight, bias) = params.split_at(self.out_features * self.in_features);
        let weight = Rows::new(weight, self.out_features, self.in_features);
        let pack = Pack { weight, bias, transposed: true, panels: &mut memory.weights };
        multiply(pack, x, y, self.flops(x.count()))
    }

    /// Computes the gradients of a forward pass with this `x` (N, in) from `dy` (N, out). Writes `dx` (N,
    /// in), if it is given, and adds the gradients of the parameters to `dparams`. (Seven arguments: the
    /// quantities of the formula.)
    ///
    /// # Errors
    /// If a size does not fit the layer; nothing is written then.
    pub fn backward<E: Element>(
        &self,
        params: &[E],
        x: Rows<'_, E>,
        dy: Rows<'_, E>,
        dx: Option<RowsMut<'_, E>>,
        dparams: &mut [E],
        memory: &mut LinearMemory<E>,
    ) -> Result<()> {
        self.check(params, (x.count(), x.features()), (dy.count(), dy.features()))?;
        self.check(dparams, (x.count(), x.features()), (dy.count(), dy.features()))?;
        let flops = self.flops(x.count());
        if let Some(dx) = dx {
            let shape = (dx.count(), dx.as_ref().features());
            let want = (x.count(), x.features());
            ensure!(shape == want, "dx must be {want:?} (rows, features), got {shape:?}");
            let weight = &params[..self.out_features * self.in_features];
            let weight = Rows::new(weight, self.out_features, self.in_features);
            let pack = Pack { weight, bias: &[], transposed: false, panels: &mut memory.back };
            multiply(pack, dy, dx, flops)?;
        }
        let parts = threads::split_rows(x.count(), flops)?.len().min(threads::num_threads()?);
        let sizes = threads::split(self.out_features, parts);
        let (dweight, mut dbias) = dparams.split_at_mut(self.out_features * self.in_features);
        let dweight = RowsMut::new(dweight, self.out_features, self.in_features);
        memory.outer.resize_with(sizes.len(), OuterMemory::default);
        let mut first = 0;
        let mut tasks = Vec::with_capacity(sizes.len());
        for (dweight, memory) in dweight.split_rows(&sizes).into_iter().zip(&mut memory.outer) {
            let range = first..first + dweight.count();
            let db;
            (db, dbias) = dbias.split_at_mut(if self.bias { dweight.count() } else { 0 });
            first = range.end;
            tasks.push(Gradients { width: self.out_features, range, x, dy, dweight, db, memory });
        }
        let level = Level::current()?;
        threads::run(tasks, |task| level.run(task))
    }
}

impl Linear {
    /// The parameters, packed for [`Linear::apply_packed`].
    pub(super) fn packed<E: Element>(&self, level: Level, params: &[E]) -> Result<Panels<E>> {
        let (weight, bias) = params.split_at(self.out_features * self.in_features);
        let weight = Rows::new(weight, self.out_features, self.in_features);
        let mut panels = Panels::default();
        level.run(Pack { weight, bias, transposed: true, panels: &mut panels })?;
        Ok(panels)
    }

    /// Writes the outputs for x (N, in) to y (N, out).
    pub(super) fn apply_packed<E: Element>(
        &self,
        level: Level,
        weights: &Panels<E>,
        x: &[E],
        y: &mut [E],
    ) {
        let rows = y.len() / self.out_features;
        let x = Rows::new(x, rows, self.in_features);
        level.run(Product { x, weights, y: RowsMut::new(y, rows, self.out_features) });
    }
}

/// Packs a weight and writes the product of x with the weight to y.
fn multiply<E: Element>(
    pack: Pack<'_, E>,
    x: Rows<'_, E>,
    y: RowsMut<'_, E>,
    flops: usize,
) -> Result<()> {
    let level = Level::current()?;
    let weights = level.run(pack)?;
    let sizes = threads::split_rows(x.count(), flops)?;
    let mut first = 0;
    let mut tasks = Vec::with_capacity(sizes.len());
    for y in y.split_rows(&sizes) {
        let count = y.count();
        tasks.push(Product { x: x.slice(first, count), weights, y });
        first += count;
    }
    threads::run(tasks, |task| {
        level.run(task);
        Ok(())
    })
}

/// Packs W (out, in): transposed for y, not transposed for dx.
struct Pack<'a, E: Element> {
    weight: Rows<'a, E>,
    bias: &'a [E],
    transposed: bool,
    panels: &'a mut Panels<E>,
}

impl<'a, E: Element> Kernel<E> for Pack<'a, E> {
    type Output = Result<&'a Panels<E>>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<&'a Panels<E>> {
        let (rows, columns) = (self.weight.count(), self.weight.features());
        if self.transposed {
            self.panels.reshape(s, columns, Columns::plain(rows))?;
            let biases: &[&[E]] = if self.bias.is_empty() { &[] } else { &[self.bias] };
            self.panels.pack_bias(s, biases);
            self.panels.pack_transposed(s, 0, self.weight);
        } else {
            self.panels.pack_matrix(s, self.weight)?;
        }
        Ok(self.panels)
    }
}

struct Product<'a, E: Element> {
    x: Rows<'a, E>,
    weights: &'a Panels<E>,
    y: RowsMut<'a, E>,
}

impl<E: Element> Kernel<E> for Product<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<E>>(mut self, s: S) {
        product(s, &[self.x], self.weights, &mut self.y);
    }
}

/// The task that computes the gradients of some rows of W.
struct Gradients<'a, E: Element> {
    width: usize,
    range: std::ops::Range<usize>,
    x: Rows<'a, E>,
    dy: Rows<'a, E>,
    dweight: RowsMut<'a, E>,
    db: &'a mut [E],
    memory: &'a mut OuterMemory<E>,
}

impl<E: Element> Kernel<E> for Gradients<'_, E> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<S: Simd<E>>(self, s: S) -> Result<()> {
        let Self { width, range, x, dy, db, .. } = self;
        let db = if db.is_empty() { None } else { Some(db) };
        let mut products = OuterProducts {
            steps: 1,
            counts: &|_| x.count(),
            blocks: &[0],
            width,
            stride: width,
            pairs: false,
            memory: self.memory,
        };
        let mut target = [Target { columns: range, c: [Some(self.dweight)], sums: [db, None] }];
        products.add(s, |_, row| dy.row(row), [&|_, row| x.row(row)], &mut target)
    }
}
