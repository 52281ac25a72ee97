//! The rows of the table: what is timed, and which PyTorch variants it is compared with.

use std::path::Path;

use densecl::config::Backbone;
use serde::Serialize;

use crate::cli::Group;
use crate::contender::{Measure, Program};
use crate::inputs::Inputs;
use crate::work::{DIM, Network, Part, Work};

/// One row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) group: Group,
    pub(crate) name: String,
    pub(crate) threads: u16,
    /// Images per iteration for rows shown in images/s; none for rows shown as a time.
    pub(crate) images: Option<usize>,
    pub(crate) job: Job,
    /// The PyTorch variants to compare with; each is a contender.
    pub(crate) variants: Vec<String>,
    /// The points that this row adds to the plot: the axis, and the value on it.
    pub(crate) points: Vec<(Axis, usize)>,
}

/// What the contenders of a row run.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    /// Work that densecl and PyTorch do in worker processes.
    Work(Work),
    /// Whole programs: densecl's, and PyTorch's in the order of [`Row::variants`].
    Programs { ours: Program, theirs: Vec<Program> },
}

/// The quantity that grows in rows of [`Group::Scale`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Axis {
    Batch,
    Queue,
    Size,
}

/// The settings that decide which rows there are.
pub(crate) struct Plan<'a> {
    pub(crate) groups: &'a [Group],
    pub(crate) threads: &'a [u16],
    /// Whether densecl computes on a GPU.
    pub(crate) gpu: bool,
    pub(crate) quick: bool,
    pub(crate) compile: bool,
    pub(crate) inputs: &'a Inputs,
}

impl Plan<'_> {
    /// All rows, group by group.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let groups = Group::ALL
            .into_iter()
            .filter(|group| self.groups.contains(group));
        groups.flat_map(|group| self.of(group)).collect()
    }

    fn of(&self, group: Group) -> Vec<Row> {
        let threads = self.threads.iter();
        match group {
            Group::Step => self.steps(),
            Group::Parts => self.parts(),
            Group::Loss => self.losses(),
            Group::Inference => self.inference(),
            Group::Scale => self.scale(),
            Group::Loader => threads.flat_map(|&threads| self.loader(threads)).collect(),
            Group::Embed => threads.map(|&threads| self.embed(threads)).collect(),
        }
    }

    fn row(&self, group: Group, name: String, threads: u16, work: Work) -> Row {
        Row {
            group,
            name,
            threads,
            images: None,
            variants: self.variants(group),
            points: Vec::new(),
            job: Job::Work(work),
        }
    }

    /// The PyTorch variants of a group. On a GPU all use channels_last, the fastest layout there, and differ in
    /// precision.
    fn variants(&self, group: Group) -> Vec<String> {
        let (plain, compiled): (&[&str], &[&str]) = match (group, self.gpu) {
            (Group::Step, false) => (&["eager", "channels_last"], &["channels_last+compile"]),
            (Group::Step, true) => (
                &["channels_last", "channels_last+tf32", "channels_last+bf16"],
                &["channels_last+bf16+compile"],
            ),
            (Group::Loss, _) => (&["eager"], &["compile"]),
            (Group::Inference, _) => (
                &["eager", "channels_last", "onnxruntime"],
                &["channels_last+compile"],
            ),
            (Group::Parts, false) => (&["eager", "channels_last"], &[]),
            (_, _) => (&["channels_last"], &[]),
        };
        let compiled = compiled.iter().filter(|_| self.compile && !self.quick);
        plain
            .iter()
            .chain(compiled)
            .map(|text| (*text).to_string())
            .collect()
    }

    /// The networks whose training is timed; on a GPU they include the paper's, at its batch and queue size.
    fn networks(&self) -> Vec<Network> {
        let network = |backbone, size, batch, queue| Network {
            backbone,
            size,
            batch,
            queue,
        };
        if self.quick {
            return vec![network(Backbone::ResNet10, 32, 2, 64)];
        }
        if self.gpu {
            return vec![
                network(Backbone::ResNet18, 96, 256, 4096),
                network(Backbone::ResNet50, 224, 64, 65_536),
                network(Backbone::ResNet50, 224, 256, 65_536),
            ];
        }
        vec![
            network(Backbone::ResNet18, 96, 32, 4096),
            network(Backbone::ResNet50, 224, 8, 4096),
        ]
    }

    /// Every network with every number of threads.
    fn trained(&self) -> impl Iterator<Item = (Network, u16)> + '_ {
        let by_threads = |network| self.threads.iter().map(move |&threads| (network, threads));
        self.networks().into_iter().flat_map(by_threads)
    }

    fn step(&self, group: Group, name: String, network: Network, threads: u16) -> Row {
        Row {
            images: Some(network.batch),
            ..self.row(group, name, threads, Work::Step { network })
        }
    }

    fn steps(&self) -> Vec<Row> {
        let row = |(network, threads)| self.step(Group::Step, title(network), network, threads);
        self.trained().map(row).collect()
    }

    fn parts(&self) -> Vec<Row> {
        let rows = |(network, threads)| {
            let name = format!("{}: whole step", title(network));
            let whole = self.row(Group::Parts, name, threads, Work::Step { network });
            let part = move |part: Part| {
                let name = format!("{}: {}", title(network), part.name());
                self.row(Group::Parts, name, threads, Work::Part { part, network })
            };
            std::iter::once(whole).chain(Part::ALL.into_iter().map(part))
        };
        self.trained().flat_map(rows).collect()
    }

    fn losses(&self) -> Vec<Row> {
        // The second size is the paper's: 256 images of 7 × 7 cells, 65,536 keys.
        let sizes: &[(usize, usize)] = if self.quick {
            &[(64, 256)]
        } else {
            &[(1568, 16_384), (12_544, 65_536)]
        };
        let rows = sizes.iter().flat_map(|&(queries, keys)| {
            self.threads.iter().map(move |&threads| {
                let name = format!(
                    "{} cells × {} keys, D = {DIM}",
                    grouped(queries),
                    grouped(keys)
                );
                let work = Work::Loss {
                    queries,
                    keys,
                    dim: DIM,
                };
                self.row(Group::Loss, name, threads, work)
            })
        });
        rows.collect()
    }

    fn inference(&self) -> Vec<Row> {
        let networks: &[(Backbone, usize)] = if self.quick {
            &[(Backbone::ResNet10, 64)]
        } else {
            &[
                (Backbone::ResNet18, 224),
                (Backbone::ResNet18, 640),
                (Backbone::ResNet50, 224),
                (Backbone::ResNet50, 640),
            ]
        };
        let rows = networks.iter().flat_map(|&(backbone, size)| {
            self.threads.iter().map(move |&threads| {
                let work = Work::Inference {
                    backbone,
                    size,
                    batch: 1,
                    onnx: self.inputs.onnx(backbone),
                };
                let name = format!("{}, {size} px", display(backbone));
                self.row(Group::Inference, name, threads, work)
            })
        });
        rows.collect()
    }

    /// Rows in which one quantity grows while the others stay. PyTorch runs without torch.compile, because
    /// compiling anew for each size would take longer than the rest of the benchmark.
    fn scale(&self) -> Vec<Row> {
        let base = self.networks()[0];
        let axes: [(Axis, &[usize]); 3] = if self.quick {
            [
                (Axis::Batch, &[2, 4]),
                (Axis::Queue, &[64, 128]),
                (Axis::Size, &[32, 64]),
            ]
        } else {
            [
                (Axis::Batch, &[8, 16, 32, 64]),
                (Axis::Queue, &[1024, 4096, 16_384, 65_536]),
                (Axis::Size, &[64, 96, 128, 160, 224]),
            ]
        };
        let mut rows: Vec<Row> = Vec::new();
        for &threads in self.threads {
            for (axis, places) in axes {
                for &place in places {
                    let mut network = base;
                    match axis {
                        Axis::Batch => network.batch = place,
                        Axis::Queue => network.queue = place,
                        Axis::Size => network.size = place,
                    }
                    let name = format!("{}, queue {}", title(network), grouped(network.queue));
                    let row = self.step(Group::Scale, name, network, threads);
                    // The row of the base sizes lies on every axis, so it is measured once and becomes a
                    // point of each.
                    let same = |r: &&mut Row| r.name == row.name && r.threads == threads;
                    match rows.iter_mut().find(same) {
                        Some(row) => row.points.push((axis, place)),
                        None => rows.push(Row {
                            points: vec![(axis, place)],
                            ..row
                        }),
                    }
                }
            }
        }
        rows
    }

    fn loader(&self, threads: u16) -> Vec<Row> {
        let seconds = if self.quick { "0.5" } else { "3" };
        let row = |(folder, size): (&Path, u32)| {
            let arguments = |more: &[&str]| {
                let mut words = vec!["--data".to_string(), folder.display().to_string()];
                words.extend(["--size".to_string(), size.to_string()]);
                words.extend(["--threads".to_string(), threads.to_string()]);
                words.extend(["--seconds".to_string(), seconds.to_string()]);
                words.extend(more.iter().map(|word| (*word).to_string()));
                words
            };
            let program = |first: Vec<String>, more: &[&str]| Program {
                words: [first, arguments(more)].concat(),
                variables: Vec::new(),
                measure: Measure::Told,
            };
            let variants = ["pil", "v2", "dataloader"];
            let theirs = variants
                .map(|name| program(self.inputs.script("loader_pytorch.py"), &["--only", name]));
            let pixels = folder.file_name().unwrap_or_default().to_string_lossy();
            let ours = [self.inputs.densecl(), "loader-speed".to_string()];
            Row {
                group: Group::Loader,
                name: format!("JPEG {pixels} → two views of {size} px"),
                threads,
                images: Some(1),
                job: Job::Programs {
                    ours: program(ours.to_vec(), &["--json", "-"]),
                    theirs: theirs.to_vec(),
                },
                variants: variants.map(str::to_string).to_vec(),
                points: Vec::new(),
            }
        };
        let small = if self.quick { 32 } else { 96 };
        let [photographs, large] = self.inputs.folders();
        [(photographs, small), (large, 224)].map(row).to_vec()
    }

    fn embed(&self, threads: u16) -> Row {
        let backbone = self.inputs.embed_backbone();
        let [_, folder] = self.inputs.folders();
        let size = if self.quick { "64" } else { "224" };
        let environment = |name: &str| vec![(name.to_string(), threads.to_string())];
        let text = |path: &Path| path.display().to_string();
        let program = |words: Vec<String>, variables| Program {
            words: [self.inputs.held_to(threads), words].concat(),
            variables,
            measure: Measure::Whole {
                pictures: self.inputs.pictures(),
            },
        };
        let common = |out: &str| {
            let folder = ["--images".to_string(), text(folder)];
            let out = ["--out".to_string(), text(&self.inputs.scratch(out))];
            [folder, out, ["--size".to_string(), size.to_string()]].concat()
        };
        let weights = [
            "--weights".to_string(),
            text(&self.inputs.weights(backbone)),
        ];
        let ours = [
            vec![self.inputs.densecl(), "embed".to_string()],
            common("ours.npy"),
            weights.to_vec(),
        ];
        let variants = ["eager", "channels_last"];
        let theirs = variants.map(|variant| {
            let more = [
                "--backbone",
                backbone.name(),
                "--threads",
                &threads.to_string(),
                "--variant",
                variant,
            ];
            let more = more.map(str::to_string).to_vec();
            let script = self.inputs.script("embed_pytorch.py");
            program(
                [script, common("theirs.npy"), more].concat(),
                environment("OMP_NUM_THREADS"),
            )
        });
        Row {
            group: Group::Embed,
            name: format!(
                "{}, {} JPEG files → {size} px",
                display(backbone),
                self.inputs.pictures()
            ),
            threads,
            images: Some(1),
            job: Job::Programs {
                ours: program(ours.concat(), environment("RAYON_NUM_THREADS")),
                theirs: theirs.to_vec(),
            },
            variants: variants.map(str::to_string).to_vec(),
            points: Vec::new(),
        }
    }
}

fn title(network: Network) -> String {
    let Network {
        backbone,
        size,
        batch,
        ..
    } = network;
    format!("{}, {size} px, batch {batch}", display(backbone))
}

/// The name for the table, e.g. `ResNet-50`.
fn display(backbone: Backbone) -> String {
    backbone.name().replace("resnet", "ResNet-")
}

/// A number with its thousands separated, e.g. `12,544`.
fn grouped(number: usize) -> String {
    match (number / 1000, number % 1000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{},{rest:03}", grouped(thousands)),
    }
}
