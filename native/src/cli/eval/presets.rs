//! Presets of evaluations: the sizes and schedules of the paper's transfers (section 4.1), for whoever has the data and
//! the time.
//!
//! A preset is a list of options. They are put before those that the user gave, which so have precedence.

use std::ffi::OsString;

use clap::builder::PossibleValuesParser;

/// Options of an evaluation by a name.
pub(super) struct Preset {
    task: &'static str,
    name: &'static str,
    options: &'static str,
}

/// Documented in docs/evaluation.md, with their differences from the paper.
const PRESETS: [Preset; 6] = [
    Preset {
        task: "linear-seg",
        name: "voc",
        options: "--fine-tune --steps 20000 --batch-size 16 --size 512 --crop 512 --stride 8 --lr 0.01 --weight-decay 0.0005",
    },
    Preset {
        task: "linear-seg",
        name: "cityscapes",
        options: "--fine-tune --steps 40000 --batch-size 16 --size 2048 --crop 768 --stride 8 --lr 0.01 --weight-decay 0.0005",
    },
    Preset {
        task: "detect",
        name: "voc",
        options: "--fine-tune --steps 24000 --batch-size 16 --size 1344 --stride 16 --lr 0.01",
    },
    Preset {
        task: "detect",
        name: "coco",
        options: "--fine-tune --steps 90000 --batch-size 16 --size 1344 --stride 16 --lr 0.01",
    },
    Preset {
        task: "instances",
        name: "coco",
        options: "--fine-tune --steps 90000 --batch-size 16 --size 1344 --stride 16 --lr 0.01",
    },
    Preset {
        task: "linear",
        name: "imagenet",
        options: "--epochs 100 --size 224 --stride 32",
    },
];

/// Parses the name of a preset of `task`.
pub(super) fn names(task: &str) -> PossibleValuesParser {
    let own = PRESETS.iter().filter(|preset| preset.task == task);
    PossibleValuesParser::new(own.map(|preset| preset.name))
}

/// The arguments of the process with the options of the preset that they name, if they name one of their task. A name
/// that is none stays, and is refused when the arguments are parsed.
pub(crate) fn expanded(args: Vec<OsString>) -> Vec<OsString> {
    let Some(at) = args.iter().position(|arg| arg == "eval") else {
        return args;
    };
    let Some(task) = args.get(at + 1) else {
        return args;
    };
    let options = args.iter().enumerate().skip(at + 2);
    let mut named =
        options.filter_map(|(i, arg)| match arg.to_str()?.strip_prefix("--preset")? {
            "" => args.get(i + 1)?.to_str(),
            name => name.strip_prefix('='),
        });
    let name = named.next_back();
    let preset = PRESETS
        .iter()
        .find(|preset| *task == *preset.task && name == Some(preset.name));
    let Some(preset) = preset else {
        return args;
    };
    let options: Vec<OsString> = preset.options.split(' ').map(OsString::from).collect();
    [&args[..at + 2], &options, &args[at + 2..]].concat()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command, eval::Eval, eval::Task};

    fn parsed(line: &str) -> Result<Task, clap::Error> {
        let args = line.split(' ').map(OsString::from).collect();
        let cli = Cli::try_parse_from(expanded(args))?;
        match cli.command {
            Some(Command::Eval(Eval { task })) => Ok(task),
            _ => panic!("another command"),
        }
    }

    #[test]
    fn every_preset_is_of_options_that_there_are() {
        for Preset { task, name, .. } in PRESETS {
            let line = format!("densecl eval {task} --weights w --data d --preset {name}");
            parsed(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn what_the_user_gives_has_precedence() {
        let line =
            "densecl eval linear-seg --steps 7 --weights a --weights b --data d --preset=voc";
        let Task::LinearSeg(args) = parsed(line).expect("a preset") else {
            panic!("another task");
        };
        assert_eq!(
            (args.steps, args.crop, args.fine_tune),
            (Some(7), 512, true)
        );
        assert_eq!(args.common.weights, ["a", "b"]);
        let unknown = "densecl eval detect --weights w --data d --preset cityscapes";
        let message = parsed(unknown).expect_err("refused").to_string();
        assert!(
            message.contains("cityscapes") && message.contains("coco"),
            "{message}"
        );
    }
}
