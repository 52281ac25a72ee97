//! Training in a browser: the trainer library's loop, called by `js/training-worker.js` one slice at a time, so that
//! the worker can handle messages in between.

mod held_out;
mod page;
mod request;
mod run;

use burn::tensor::Device;
use densecl::config::Precision;
use densecl::device::is_cpu;
use densecl::memory::{StepMemory, StepShape};
use densecl_train::config::RunConfig;
use densecl_train::in_memory::Images;
use densecl_train::spread::spread;
use densecl_train::trainer;
use image::RgbImage;
use js_sys::Function;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{failure::Failure, session::Session};
use held_out::Pairs;
use page::{Listener, Page};
use request::{Request, Source, fit, held_out};
use run::{Progress, Run, measured};

/// The fewest pictures to train on.
const LEAST_PICTURES: usize = 16;

/// The most memory in bytes that a training may need by the estimate. A module of 32-bit WebAssembly addresses 4 GiB, of
/// which the allocator's gaps and the copies of a checkpoint take their part.
const MEMORY: u64 = 2 << 30;

type Outcome<T> = Result<T, Failure>;

/// The failure for an error of the library.
fn failed(error: anyhow::Error) -> Failure {
    match error.downcast::<densecl::Error>() {
        Ok(error @ densecl::Error::Device(_)) => error.into(),
        Ok(error) => Failure::new("settings", error.to_string()),
        Err(error) => Failure::new("settings", format!("{error:#}")),
    }
}

impl From<trainer::Failure> for Failure {
    fn from(failure: trainer::Failure) -> Self {
        match failure {
            trainer::Failure::NotFinite(step) => Self::new(
                "diverged",
                format!(
                    "The training has diverged: after step {step} a number is infinite or not a number. Start anew, \
                     with another seed or a smaller learning rate."
                ),
            ),
            trainer::Failure::Device(why) => Self::new("device", why),
            trainer::Failure::Rank(why) => Self::request(why),
            trainer::Failure::Data { why, .. } => failed(why),
            trainer::Failure::Other(error) => failed(error),
        }
    }
}

/// A training: created with settings, given pictures if it is on pictures, begun, measured, and advanced step by step.
#[wasm_bindgen]
pub struct Training {
    device: Device,
    config: RunConfig,
    source: Source,
    /// Whether the settings are those of an earlier run, which must not be changed.
    resumed: bool,
    pictures: Vec<RgbImage>,
    page: Page,
    listener: Listener,
    run: Option<Run>,
}

impl std::fmt::Debug for Training {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Training {{ source: {:?} }}", self.source)
    }
}

impl Training {
    fn run(&mut self) -> Outcome<(&mut Run, &mut Page, &mut Listener)> {
        match &mut self.run {
            Some(run) => Ok((run, &mut self.page, &mut self.listener)),
            None => Err(Failure::request("the training has not begun")),
        }
    }

    /// The same, once the loop has begun.
    fn loop_of(&mut self) -> Outcome<(&mut Run, &mut Page, &mut Listener)> {
        let parts = self.run()?;
        if !parts.0.has_begun() {
            return Err(Failure::request("the first step is not due"));
        }
        Ok(parts)
    }

    /// Refuses a training that would not fit into the memory of a module.
    fn ensure_memory(&self, images: usize) -> Outcome<()> {
        let config = &self.config;
        let batch = config.train.batch_size;
        let queue = config.method.queue_len(images, batch);
        let step = StepMemory::estimate(&StepShape {
            model: &config.model,
            method: &config.method,
            batch,
            accumulate: config.optim.accumulate,
            ranks: 1,
            size: config.largest_view() as usize,
            queue: queue.map_err(|e| failed(e.into()))?,
            device: &self.device,
            precision: Precision::F32,
        });
        let on_device = if is_cpu(&self.device) {
            step.device()
        } else {
            step.views
        };
        let pictures = match self.source {
            Source::Scenes => images as u64 * 3 * u64::from(config.scenes.size).pow(2),
            Source::Pictures => (self.pictures.iter().map(|p| p.as_raw().len() as u64)).sum(),
        };
        let needed = on_device + step.saving + pictures;
        if needed <= MEMORY {
            return Ok(());
        }
        Err(Failure::new(
            "out-of-memory",
            format!(
                "This training needs about {} MB, and a page can give it {} MB. Take a smaller train.batch_size, smaller \
                 views, a narrower network or fewer pictures.",
                needed / 1_000_000,
                MEMORY / 1_000_000
            ),
        ))
    }
}

#[wasm_bindgen]
impl Training {
    /// A training with the settings of `request` (JSON, see `request.rs`). `clock()` gives seconds since a fixed
    /// moment. `listener(type, json)` receives the rows of figures (`row`), measurements (`measured`) and the progress of
    /// measurements (`measuring`, `[done, total]`).
    ///
    /// # Errors
    /// `settings` for a setting that does not exist, is out of range, or does not work in a browser.
    pub fn create(
        session: &Session,
        request: &str,
        clock: Function,
        listener: Function,
    ) -> Result<Training, Failure> {
        let request: Request =
            serde_json::from_str(request).map_err(|e| Failure::request(e.to_string()))?;
        Ok(Self {
            device: session.device().clone(),
            config: request.config().map_err(failed)?,
            source: request.source,
            resumed: request.is_resumed(),
            pictures: Vec::new(),
            page: Page { clock, kept: None },
            listener: Listener(listener),
            run: None,
        })
    }

    /// Adds a picture to train on: bytes of red, green, blue, row by row.
    ///
    /// # Errors
    /// `worker` when `rgb` does not hold `width` × `height` pixels.
    #[wasm_bindgen(js_name = addPicture)]
    pub fn add_picture(&mut self, rgb: Vec<u8>, width: u32, height: u32) -> Result<(), Failure> {
        let bytes = rgb.len();
        let picture = RgbImage::from_raw(width, height, rgb)
            .filter(|picture| bytes > 0 && picture.as_raw().len() == 3 * picture.pixels().len());
        let picture = picture.ok_or_else(|| {
            Failure::request(format!(
                "{bytes} bytes are not {width} × {height} RGB pixels"
            ))
        })?;
        self.pictures.push(picture);
        Ok(())
    }

    /// Pixels of the shorter side of a picture that are enough: a view is cut out of the picture and scaled to half of
    /// that.
    #[wasm_bindgen(getter, js_name = pictureSide)]
    pub fn picture_side(&self) -> u32 {
        2 * self.config.largest_view()
    }

    /// Prepares the run: at its beginning, or with `state` where the checkpoint was made, after `seconds` of training.
    /// Returns it as JSON.
    ///
    /// # Errors
    /// `too-few-pictures`; `out-of-memory` when the estimate is too large; `settings` when settings and images do not
    /// fit; `unsupported-weights` or `wrong-weights` when the checkpoint is damaged or of another run.
    pub fn begin(&mut self, state: Option<Vec<u8>>, seconds: f64) -> Result<String, Failure> {
        let (images, held) = match self.source {
            Source::Scenes => (self.config.data.scene_count, 0),
            Source::Pictures => {
                let there = self.pictures.len();
                if there < LEAST_PICTURES {
                    return Err(Failure::new(
                        "too-few-pictures",
                        format!(
                            "Only {there} of these files are pictures that this browser can read, and a training needs at \
                             least {LEAST_PICTURES}."
                        ),
                    ));
                }
                let held = held_out(&self.config, there);
                (there - held, held)
            }
        };
        if !self.resumed {
            fit(&mut self.config, images);
        }
        self.ensure_memory(images)?;
        let (images, held_out) = match self.source {
            Source::Scenes => (Images::scenes(&self.config), Vec::new()),
            Source::Pictures => {
                let pictures = std::mem::take(&mut self.pictures);
                let (rest, held_out) = spread(pictures, held);
                (Images::Pictures(rest), held_out)
            }
        };
        let run = Run::new(
            self.config.clone(),
            &self.device,
            images,
            Pairs::new(&self.config, held_out),
            state.map(|state| (state, seconds)),
            &mut self.page,
            &mut self.listener,
        )?;
        let described = run.describe()?;
        self.run = Some(run);
        Ok(described)
    }

    /// Takes the next slice of the measurement on held-out pairs. Returns whether it is done.
    ///
    /// # Errors
    /// `device` when the device fails.
    pub async fn measure(&mut self) -> Result<bool, Failure> {
        let (run, _, listener) = self.run()?;
        match run.measure().await? {
            Progress::Under(done, total) => {
                listener.tell("measuring", &format!("[{done},{total}]"));
                Ok(false)
            }
            Progress::Done(figures) => {
                if let Some((step, figures)) = figures {
                    listener.tell("measured", &measured(step, &figures)?);
                }
                Ok(true)
            }
        }
    }

    /// Takes one step; before the first, [`Training::measure`] must be done. Returns whether it was the last.
    ///
    /// # Errors
    /// `diverged`; `device` when the device fails.
    pub async fn step(&mut self) -> Result<bool, Failure> {
        let (run, page, listener) = self.run()?;
        if !run.has_begun() {
            run.begin((0, 0.0), page, listener)?;
        }
        run.advance(page, listener).await
    }

    /// Makes the next step the last.
    ///
    /// # Errors
    /// `worker` when the training has not begun.
    pub fn stop(&mut self) -> Result<(), Failure> {
        self.run()?.0.stop();
        Ok(())
    }

    /// Makes the run `steps` steps longer. Returns it as JSON.
    ///
    /// # Errors
    /// `worker` before the first step.
    pub fn prolong(&mut self, steps: u32) -> Result<String, Failure> {
        let (run, page, listener) = self.loop_of()?;
        run.prolong(steps.into(), page, listener)?;
        run.describe()
    }

    /// The content of `weights.safetensors` as the network is now; before the first step that of the untrained one.
    ///
    /// # Errors
    /// `device` when the device fails.
    pub async fn weights(&mut self) -> Result<Vec<u8>, Failure> {
        self.run()?.0.weights().await
    }

    /// The state of the run as bytes, for [`Training::begin`].
    ///
    /// # Errors
    /// `diverged`; `device` when the device fails; `worker` before the first step.
    pub async fn checkpoint(&mut self) -> Result<Vec<u8>, Failure> {
        let (run, page, listener) = self.loop_of()?;
        run.keep(page, listener).await?;
        Ok(page.kept.take().unwrap_or_default())
    }

    /// Steps taken.
    #[wasm_bindgen(getter)]
    pub fn taken(&self) -> f64 {
        self.run.as_ref().map_or(0, Run::step) as f64
    }
}
