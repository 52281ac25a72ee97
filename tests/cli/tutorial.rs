//! docs/tutorial.md: its commands run in their order as a reader runs them, and training helps as it says.

use serde_json::Value;

use crate::sandbox::Sandbox;

/// The commands in the `sh` blocks of a page, without the name of the program and comments; a line that ends in `\` is
/// continued by the next one.
fn commands(page: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut in_block = false;
    let mut command = String::new();
    for line in page.lines() {
        if line.starts_with("```") {
            in_block = line == "```sh";
            continue;
        }
        if !in_block {
            continue;
        }
        let (line, _comment) = line.split_once(" #").unwrap_or((line, ""));
        if let Some(begun) = line.trim_end().strip_suffix('\\') {
            command += begun;
            continue;
        }
        command += line.trim_end();
        let arguments = command.strip_prefix("densecl ");
        let arguments = arguments.unwrap_or_else(|| panic!("no call of densecl: {command}"));
        // The sandbox divides arguments at spaces and runs no shell.
        assert!(
            !arguments.contains(['\'', '"', '$', '~', '|', '>', '*']),
            "{command}"
        );
        commands.push(arguments.to_string());
        command.clear();
    }
    assert!(command.is_empty(), "nothing follows {command}");
    commands
}

/// The mean of a figure over the seeds, of the column `column` of a comparison.
fn mean(comparison: &Value, column: usize, task: &str, name: &str) -> f64 {
    let parts = comparison["parts"].as_array().expect("parts");
    let of_task = |part: &&Value| {
        part["task"]
            .as_str()
            .is_some_and(|text| text.contains(task))
    };
    let part = parts.iter().find(of_task).expect(task);
    let figures = part["columns"][column].as_array().expect("figures");
    let figure = figures.iter().find(|figure| figure["name"] == name);
    figure.expect(name)["mean"].as_f64().expect("a number")
}

#[test]
fn the_tutorial_runs_as_written_and_training_helps() {
    let sandbox = Sandbox::new();
    let commands = commands(include_str!("../../docs/tutorial.md"));
    for arguments in &commands {
        let ran = sandbox.run(arguments);
        assert_eq!(ran.code, Some(0), "densecl {arguments}\n{}", ran.stderr);
    }
    // Every chapter of the page has a command.
    for command in ["synth", "pretrain", "plot", "match", "eval", "export"] {
        let used = |arguments: &String| arguments.split(' ').next() == Some(command);
        assert!(commands.iter().any(used), "no command calls {command}");
    }
    let comparison = sandbox.json("table/compare.json");
    for task in ["linear-seg", "knn-seg"] {
        let [trained, random] = [0, 1].map(|column| mean(&comparison, column, task, "mIoU"));
        assert!(trained > random, "{task}: {trained} and {random}");
    }
    let result = sandbox.json("runs/first/result.json");
    let accuracy = |when: &str| {
        let value = &result[format!("correspondence_accuracy_{when}")];
        value.as_f64().expect("a number")
    };
    assert!(accuracy("after") > accuracy("before"), "{result}");
    for picture in [
        "runs/first/curves.png",
        "runs/first/matches.png",
        "matches.png",
    ] {
        assert!(sandbox.picture(picture).width() > 128, "{picture}");
    }
    let graph = sandbox.read("backbone.onnx");
    assert!(graph.windows(8).any(|bytes| bytes == b"features"));
}
