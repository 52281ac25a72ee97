//! Losses, matches, gradients, updated parameters, BN buffers and queues of whole training steps.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use densecl::{
    config::{Backbone, InViewPositives, Matching, MethodConfig, ModelConfig, OptimConfig},
    method::{DenseCl, StepSettings},
    model::Embeddings,
    queue::Queue,
};
use densecl_tests::{
    golden::{Golden, TOLERANCE, assert_close},
    in_view::geometry,
    learner::{Views, figures, matches, step},
    network::{Gradient, cpu, fill, input, named_values, tensor, values},
};

const BATCH: usize = 8;
const SIDE: usize = 64;
const GROUPS: usize = 2;
const QUEUE: usize = 20;

struct Case {
    file: &'static str,
    steps: usize,
    output_stride: usize,
    num_grid: usize,
    lambda: f64,
    weight_decay: f64,
    /// Settings of matching and of the in-view loss; temperature and momentum are the same in all cases.
    method: MethodConfig,
}

impl Case {
    fn learner(&self, golden: &Golden, device: &Device) -> DenseCl {
        let model = ModelConfig {
            backbone: Backbone::ResNet10,
            width: 8,
            output_stride: self.output_stride,
            dim: 16,
            num_grid: self.num_grid,
            ..ModelConfig::default()
        };
        let method = MethodConfig {
            lambda: self.lambda,
            momentum: 0.99,
            bn_groups: GROUPS,
            ..self.method.clone()
        };
        let optim = OptimConfig {
            weight_decay: self.weight_decay,
            ..OptimConfig::default()
        };
        let mut learner = DenseCl::new(&model, &method, &optim, QUEUE, 0, device);
        fill(&mut learner.query, "", Gradient::Tracked);
        fill(&mut learner.key, "", Gradient::None);
        let queue = |which: &str| {
            let (_, keys) = golden.f32(&format!("initial/queue_{which}"));
            Queue::from_parts(tensor(keys, [QUEUE, 16], device), 0)
        };
        (learner.global_queue, learner.dense_queue) = (queue("global"), queue("dense"));
        learner
    }

    fn views(&self, golden: &Golden, step: usize) -> Views {
        let images = |which| {
            let name = format!("{}/step{step}/{which}", self.file);
            input(&name, [BATCH, 3, SIDE, SIDE])
        };
        let (_, order) = golden.i64(&format!("step{step}/permutation"));
        Views {
            query: images("q"),
            key: images("k"),
            key_order: order.iter().map(|&i| i as usize).collect(),
            geometry: (self.method != MethodConfig::default())
                .then(|| geometry(golden, &format!("step{step}/geometry"))),
        }
    }

    fn agrees(&self) {
        let golden = Golden::open(self.file);
        let mut learner = self.learner(&golden, &cpu());
        self.embeddings_agree(&golden, &learner);
        let before = named_values(&learner.query);

        for number in 0..self.steps {
            let settings = StepSettings {
                step: number as u64,
                total_steps: self.steps as u64,
                learning_rate: 0.05,
            };
            let views = vec![self.views(&golden, number)];
            let output = step(&mut learner, views, &settings).expect("a step");
            let measured = output.figures().expect("the CPU answers");
            let in_view = ["loss_in_view", "accuracy_in_view"];
            let has_in_view = self.method.in_view_weight > 0.0;
            assert_eq!(measured.get(in_view[0]).is_some(), has_in_view);
            for key in [
                "loss",
                "loss_global",
                "loss_dense",
                "accuracy_global",
                "accuracy_dense",
                "grad_norm",
            ]
            .into_iter()
            .chain(in_view.into_iter().filter(|_| has_in_view))
            {
                let got = figures(&measured, [key]);
                golden.assert_close(&format!("step{number}/{key}"), &[1], &got, TOLERANCE);
            }
            let key = format!("step{number}/match");
            assert_eq!(
                matches(&output),
                [golden.i64(&key).1],
                "{}: {key}",
                self.file
            );
            if number == 0 {
                self.gradients_agree(&golden, &learner, &before);
            }
        }
        self.end_agrees(&golden, &learner);
        golden.assert_all_read();
    }

    /// Compares the outputs of both encoders at step 0, where they are equal and the momentum update changes
    /// nothing.
    fn embeddings_agree(&self, golden: &Golden, learner: &DenseCl) {
        let Views {
            query,
            key,
            key_order,
            ..
        } = self.views(golden, 0);
        let close = |key: &str, shape: &[usize], got: Vec<f32>| {
            golden.assert_close(&format!("step0/{key}"), shape, &got, TOLERANCE);
        };
        let q = learner
            .query
            .clone()
            .forward_train(query.autodiff(), GROUPS);
        close("q_global", &q.global.dims(), values(&q.global));
        close("q_cells", &q.dense.dims(), values(&q.dense));

        let select = |order: &[usize]| -> Tensor<1, Int> {
            let order: Vec<i32> = order.iter().map(|&i| i as i32).collect();
            Tensor::from_data(TensorData::new(order, [BATCH]), &cpu())
        };
        let mut place = vec![0; BATCH];
        for (to, &from) in key_order.iter().enumerate() {
            place[from] = to;
        }
        let shuffled = key.select(0, select(&key_order));
        let k: Embeddings = learner.key.clone().forward_train(shuffled, GROUPS);
        let global = k.global.select(0, select(&place));
        let cells = k.dense.select(0, select(&place));
        let pooled = k.dense_pooled.select(0, select(&place));
        close("k_global", &global.dims(), values(&global));
        close("k_cells", &cells.dims(), values(&cells));
        close("k_pooled", &pooled.dims(), values(&pooled));
    }

    /// Compares gradients by way of SGD's first velocity, which is the gradient plus the weight decay.
    fn gradients_agree(
        &self,
        golden: &Golden,
        learner: &DenseCl,
        before: &BTreeMap<String, Vec<f32>>,
    ) {
        let decay = self.weight_decay as f32;
        for velocity in learner.optimizer.state(&learner.query) {
            let key = format!("step0/grad/{}", velocity.name);
            if golden.keys(&key).next().is_none() {
                continue;
            }
            let theta = &before[&velocity.name];
            let moved = values(&velocity.values);
            let gradient: Vec<f32> = moved
                .iter()
                .zip(theta)
                .map(|(v, t)| v - decay * t)
                .collect();
            golden.assert_close(&key, &velocity.shape, &gradient, TOLERANCE);
        }
    }

    fn end_agrees(&self, golden: &Golden, learner: &DenseCl) {
        for (which, encoder) in [("query", &learner.query), ("key", &learner.key)] {
            let got = named_values(encoder);
            let prefix = format!("end/{which}/");
            for key in golden.keys(&prefix) {
                let what = format!("{}: {key}", self.file);
                let (_, want) = golden.f32(key);
                assert_close(&what, &got[&key[prefix.len()..]], &want, TOLERANCE);
            }
        }
        let pointer = golden.i64("end/queue_pointer").1;
        let queues = [
            ("global", &learner.global_queue),
            ("dense", &learner.dense_queue),
        ];
        for (which, queue) in queues {
            let keys = values(&queue.keys());
            golden.assert_close(
                &format!("end/queue_{which}"),
                &[QUEUE, 16],
                &keys,
                TOLERANCE,
            );
            assert_eq!([queue.position() as i64], pointer[..], "{which} queue");
        }
    }
}

#[test]
fn three_steps_agree() {
    let case = Case {
        file: "train_steps",
        steps: 3,
        output_stride: 32,
        num_grid: 0,
        lambda: 0.5,
        weight_decay: 1e-4,
        method: MethodConfig::default(),
    };
    case.agrees();
}

#[test]
fn a_step_at_stride_8_on_a_pooled_grid_with_the_dense_loss_alone_agrees() {
    let case = Case {
        file: "train_stride8_grid3",
        steps: 1,
        output_stride: 8,
        num_grid: 3,
        lambda: 1.0,
        weight_decay: 1e-4,
        method: MethodConfig::default(),
    };
    case.agrees();
}

/// MoCo v2 (λ = 0): the dense head gets a zero gradient but still weight decay, as in PyTorch.
#[test]
fn a_step_of_moco_agrees() {
    let case = Case {
        file: "train_moco",
        steps: 1,
        output_stride: 32,
        num_grid: 0,
        lambda: 0.0,
        weight_decay: 0.1,
        method: MethodConfig::default(),
    };
    case.agrees();
}

fn with_in_view() -> MethodConfig {
    MethodConfig {
        in_view_weight: 4.0,
        in_view_temperature: 0.1,
        ..MethodConfig::default()
    }
}

/// Both dense losses take the true cell as the positive; the views of one picture do not overlap.
#[test]
fn a_step_with_true_positives_and_the_in_view_loss_agrees() {
    let case = Case {
        file: "train_geometry",
        steps: 1,
        output_stride: 16,
        num_grid: 0,
        lambda: 0.5,
        weight_decay: 1e-4,
        method: MethodConfig {
            matching: Matching::Geometry,
            ..with_in_view()
        },
    };
    case.agrees();
}

/// The dense loss takes the backbone's match, the in-view loss the near cells, on a pooled grid.
#[test]
fn a_step_with_near_cells_in_the_in_view_loss_agrees() {
    let case = Case {
        file: "train_near",
        steps: 1,
        output_stride: 8,
        num_grid: 3,
        lambda: 0.5,
        weight_decay: 1e-4,
        method: MethodConfig {
            in_view_positives: InViewPositives::Near,
            ..with_in_view()
        },
    };
    case.agrees();
}
