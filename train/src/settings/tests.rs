use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Settings {
    seed: u64,
    name: String,
    limit: Option<u64>,
    schedule: Schedule,
    optim: Optim,
    probe: Option<Probe>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Schedule {
    #[default]
    Cosine,
    Constant,
    Step {
        every: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Optim {
    lr: f64,
    momentum: f32,
    steps: usize,
    nesterov: bool,
    milestones: Vec<u64>,
}

impl Default for Optim {
    fn default() -> Self {
        Self {
            lr: 0.3,
            momentum: 0.999,
            steps: 7,
            nesterov: false,
            milestones: vec![1, 2],
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Probe {
    images: u64,
    every: Option<u64>,
}

fn with(text: &str, sets: &[&str]) -> anyhow::Result<Settings> {
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    resolve(&[("preset", text)], &sets)
}

fn from_text(text: &str) -> Settings {
    with(text, &[]).expect(text)
}

fn from_set(set: &str) -> Settings {
    with("", &[set]).expect(set)
}

fn text_error(text: &str) -> String {
    let error = format!("{:#}", with(text, &[]).expect_err(text));
    assert!(!error.contains('\n'), "{error}");
    error
}

fn set_error(set: &str) -> String {
    let error = format!("{:#}", with("", &[set]).expect_err(set));
    assert!(!error.contains('\n'), "{error}");
    error
        .strip_prefix(&format!("--set {set}: "))
        .expect("names its --set")
        .to_owned()
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(from_text(""), Settings::default());
    assert_eq!(from_text("[optim]\n# nothing\n"), Settings::default());
}

#[test]
fn a_file_overrules_the_preset_and_sets_overrule_both() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("run.toml");
    std::fs::write(&path, "seed = 2\n[optim]\nlr = 0.2\nsteps = 20\n").expect("a file");
    let preset = ("preset", "seed = 1\noptim.momentum = 0.5\noptim.lr = 0.1\n");
    let sets = ["optim.lr=9".to_owned(), "optim.lr=0.4".to_owned()];
    let text = file::read_file(&path).expect("a small file");
    let texts = [preset, ("run.toml", text.as_str())];
    let found: Settings = resolve(&texts, &sets).expect("settings");
    let optim = Optim {
        lr: 0.4,
        momentum: 0.5,
        steps: 20,
        ..Optim::default()
    };
    assert_eq!(
        found,
        Settings {
            seed: 2,
            optim,
            ..Settings::default()
        }
    );
}

#[test]
fn values_of_set_are_toml_or_else_strings() {
    assert_eq!(from_set("name=plain words").name, "plain words");
    assert_eq!(from_set("name=\"quoted\"").name, "quoted");
    assert_eq!(from_set("name=123").name, "123");
    assert_eq!(from_set("name=a=b").name, "a=b");
    assert_eq!(from_set("name=").name, "");
    assert_eq!(from_set("schedule=constant").schedule, Schedule::Constant);
    assert_eq!(
        from_set("schedule={step={every=3}}").schedule,
        Schedule::Step { every: 3 }
    );
    assert_eq!(from_set("optim.lr=1").optim.lr, 1.0);
    assert_eq!(from_set(" optim.lr = 1e-3 ").optim.lr, 1e-3);
    assert_eq!(from_set("seed=1_000").seed, 1000);
    assert!(from_set("optim.nesterov=true").optim.nesterov);
    assert_eq!(from_set("optim.milestones=[5]").optim.milestones, [5]);
}

#[test]
fn a_section_given_whole_keeps_its_other_keys() {
    let found = with("optim.steps = 1", &["optim={lr=0.5}"]).expect("settings");
    assert_eq!(
        found.optim,
        Optim {
            lr: 0.5,
            steps: 1,
            ..Optim::default()
        }
    );
}

#[test]
fn optional_settings_need_no_default_to_be_known() {
    assert_eq!(from_set("limit=4").limit, Some(4));
    let probe = Some(Probe {
        images: 3,
        every: Some(2),
    });
    assert_eq!(from_text("[probe]\nimages = 3\nevery = 2").probe, probe);
    let error = text_error("[probe]\nimages = 3\nevry = 2");
    let expected = "preset, line 3: there is no setting `probe.evry`; did you mean `probe.every`?";
    assert_eq!(error, expected);
}

#[test]
fn unknown_keys_are_named_with_place_and_nearest() {
    let error = text_error("seed = 1\n\n[optim]\nlerning_momentun = 1");
    assert!(error.starts_with("preset, line 4: there is no setting `optim.lerning_momentun`; "));
    assert_eq!(
        text_error("[optim]\nmomentun = 1"),
        "preset, line 2: there is no setting `optim.momentun`; did you mean `optim.momentum`?"
    );
    assert_eq!(
        set_error("optm.lr=1"),
        "there is no setting `optm`; did you mean `optim`?"
    );
    assert_eq!(
        set_error("lr=1"),
        "there is no setting `lr`; did you mean `optim.lr`?"
    );
    assert_eq!(
        text_error("[optm]").split(';').next_back(),
        Some(" did you mean `optim`?")
    );
    assert_eq!(
        set_error("optim.zzz=1"),
        "there is no setting `optim.zzz`; there are `optim.lr`, `optim.milestones`, \
         `optim.momentum`, `optim.nesterov`, `optim.steps`"
    );
}

#[test]
fn wrong_types_are_named_with_place_expected_and_found() {
    assert_eq!(
        text_error("seed = 3\n[optim]\nlr = \"fast\""),
        "preset, line 3: `optim.lr`: invalid type: string \"fast\", expected f64"
    );
    assert_eq!(
        set_error("optim.steps=1.5"),
        "`optim.steps`: invalid type: floating point `1.5`, expected usize"
    );
    assert_eq!(
        set_error("seed=-1"),
        "`seed`: invalid value: integer `-1`, expected u64"
    );
    assert_eq!(
        set_error("schedule=cosin"),
        "`schedule`: unknown variant `cosin`, expected one of `cosine`, `constant`, `step`"
    );
    assert_eq!(
        set_error("optim=3"),
        "`optim`: invalid type: integer `3`, expected struct Optim"
    );
    assert_eq!(
        set_error("seed.inner=3"),
        "`seed` is a value, not a section with keys of its own"
    );
    assert_eq!(
        set_error("limit=many"),
        "`limit`: invalid type: string \"many\", expected u64"
    );
}

#[test]
fn toml_that_is_not_valid_is_shown_with_line_and_column() {
    let error = text_error("seed = 1\nname = \"é\" x\n");
    assert!(
        error.starts_with("preset, line 2, column 12: not valid TOML: "),
        "{error}"
    );
    let error = text_error("seed = 1\nseed = 2\n");
    assert_eq!(
        error,
        "preset, line 2, column 1: not valid TOML: duplicate key"
    );
}

#[test]
fn sets_without_key_or_value_are_explained() {
    assert_eq!(set_error("seed"), "write --set section.key=value");
    let empty = "a part of the key is empty; write --set section.key=value";
    assert_eq!(set_error("optim..lr=1"), empty);
    assert_eq!(set_error("=1"), empty);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = |name: &str, content: Option<&[u8]>| {
        let path = folder.path().join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).expect("a file");
        }
        resolve_file::<Settings>(&path, &[])
            .expect_err(name)
            .to_string()
    };
    assert!(error("none.toml", None).contains("none.toml: No such file"));
    let long = vec![b'#'; (1 << 20) + 1];
    assert!(error("long.toml", Some(&long)).contains("long.toml is longer than 1 MiB"));
    assert!(error("bin.toml", Some(&[0xff])).contains("bin.toml is not UTF-8 text"));
    let place = error("bad.toml", Some(b"seed = true"));
    assert!(
        place.contains("bad.toml, line 1: `seed`: invalid type: boolean `true`"),
        "{place}"
    );
}

#[test]
fn what_is_saved_is_read_back_the_same() {
    let settings = with(
        "probe.images = 3\nname = \"é\"",
        &["schedule={step={every=3}}"],
    );
    let settings = settings.expect("settings");
    let text = to_toml(&settings).expect("TOML");
    assert!(text.contains("momentum = 0.999\n"), "{text}");
    assert_eq!(from_text(&text), settings);
    let error = to_toml(&Settings {
        seed: u64::MAX,
        ..Settings::default()
    });
    let error = format!("{:#}", error.expect_err("above the integers of TOML"));
    assert!(
        error.starts_with("the settings cannot be written as TOML: "),
        "{error}"
    );
}
