//! Adds a method to the trainer: SimCLR's contrastive loss between the pictures of a batch (Chen et al. 2020),
//! without queue and momentum encoder. Training loop, checkpoints, log and curves come from the library.
//!
//! ```sh
//! cargo run --release --example a_method_of_your_own -- photos 20
//! ```

use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use burn::tensor::{Int, Tensor, activation::log_softmax};
use densecl::config::OptimConfig;
use densecl::device::{DeviceChoice, select};
use densecl::loss_scale::LossScale;
use densecl::method::{
    Figure, FigureSums, Method, MicroBatch, Panel, StateVisitor, StepOutput, StepSettings, ViewSpec,
};
use densecl::model::{Encoder, RunningStatistics, Tensors};
use densecl::optim::{ParameterGradients, Sgd};
use densecl::world::{Share, World};
use densecl_train::events::{Observer, TrainEvent};
use densecl_train::run::{PreparedRun, RunRequest};

#[derive(Debug)]
struct SimClr {
    encoder: Encoder,
    optimizer: Sgd,
    temperature: f64,
}

impl SimClr {
    fn new(encoder: Encoder, optim: &OptimConfig) -> Self {
        Self {
            encoder: encoder.trainable(),
            optimizer: Sgd::new(optim),
            temperature: 0.2,
        }
    }

    /// Cross-entropy of finding the other view of each picture among all pictures of the batch (InfoNCE); `a` and
    /// `b` are unit vectors [B, C].
    fn loss(&self, a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
        let [pictures, _] = a.dims();
        let similarity = a.matmul(b.transpose()) / self.temperature;
        let own = Tensor::<1, Int>::arange(0..pictures as i64, &similarity.device());
        let log_share = log_softmax(similarity, 1).gather(1, own.unsqueeze_dim(1));
        log_share.mean().neg()
    }
}

impl Method for SimClr {
    fn name(&self) -> &'static str {
        "simclr"
    }

    fn views(&self) -> Vec<ViewSpec> {
        ["first", "second"].map(ViewSpec::usual).to_vec()
    }

    fn figures(&self) -> Vec<Figure> {
        vec![Figure {
            name: "loss",
            tag: "loss/total",
            panel: Panel::Loss,
            label: "total",
        }]
    }

    fn visit_state(&mut self, visitor: &mut dyn StateVisitor) -> densecl::Result<()> {
        visitor.network("encoder", &mut self.encoder)?;
        visitor.velocity("velocity", &mut self.optimizer, &self.encoder)
    }

    fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    fn begin_with(&mut self, encoder: Encoder) {
        self.encoder = encoder.trainable();
    }

    fn loss_scale(&self) -> Option<LossScale> {
        None
    }

    fn step(
        &mut self,
        micro_batches: Vec<MicroBatch>,
        settings: &StepSettings,
        world: &mut dyn World,
    ) -> densecl::Result<StepOutput> {
        let mut gradients = ParameterGradients::default();
        let mut sums = FigureSums::default();
        let Share { count, .. } = Share::of(world, micro_batches.len());
        let mut statistics = RunningStatistics::begin(&mut self.encoder, world);
        for batch in micro_batches {
            let [a, b] = [0, 1].map(|view| {
                let pixels = batch.views[view].pixels.clone().autodiff();
                let embeddings = self.encoder.forward_train(pixels, 1);
                statistics.passed(&mut self.encoder);
                embeddings.global
            });
            let loss = self.loss(a.clone(), b.clone()) + self.loss(b, a);
            gradients.accumulate(&self.encoder, &(loss.clone() / count as f64).backward());
            sums.add(vec![("loss", loss.inner())]);
        }
        // On several devices or machines: adds what the others computed.
        gradients.sum_over(world)?;
        sums.gather(world)?;
        statistics.finish(&mut self.encoder, world)?;
        let rate = settings.learning_rate;
        let norm = self.optimizer.step(&mut self.encoder, gradients, rate);
        Ok(sums.output(norm, Vec::new(), Vec::new(), false))
    }
}

struct Printer;

impl Observer for Printer {
    fn event(&mut self, event: &TrainEvent) -> anyhow::Result<()> {
        if let TrainEvent::Row(row) = event {
            println!("step {:3}: loss {:.3}", row.step, row.loss);
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, steps] = arguments.as_slice() else {
        bail!("give a folder of photographs and the number of steps")
    };
    let sets = [
        &format!("data.source={folder}"),
        &format!("train.steps={steps}"),
        "train.batch_size=8",
        "model.backbone=resnet10",
        "model.width=16",
        "views.size=64",
        "eval.pairs=8",
        "log.every_steps=5",
    ];
    let request = RunRequest {
        sets: sets.map(String::from).to_vec(),
        out: Some("runs/simclr".into()),
        overwrite: true,
        ..RunRequest::default()
    };
    let device = pollster::block_on(select(DeviceChoice::Auto))?;
    let run = PreparedRun::new(&request)?.with_method(Box::new(|plan| {
        let encoder = Encoder::new(&plan.config.model, plan.config.train.seed, &plan.device);
        Box::new(SimClr::new(encoder, &plan.config.optim))
    }));
    let stop = AtomicBool::new(false);
    let (_, result) = run
        .run(&device, Box::new(Printer), &stop)?
        .context("it was stopped")?;
    println!("weights: {}", result.weights.display());
    Ok(())
}
