//! Boxes for UniVIP: found, kept, gone on with, and refused in one line where they are wrong.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// A tiny run with two instances of an image.
const UNIVIP: &str = "--data photos --set method.name=univip --set method.queue=0 --set \
    method.projector_hidden=16 --set method.projector_dim=8 --set method.instances=2 --set \
    method.instance_size=32 --set views.scale=[0.6,1.0] --set views.instances.min_side=8";

fn photos() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.pictures("photos", 30);
    sandbox
}

/// Lines of a file of boxes for the pictures of [`photos`], as edited by `edit`; a line that becomes null is left out.
fn write_boxes(sandbox: &Sandbox, edit: impl Fn(usize, &mut Value)) {
    let text: String = sandbox
        .names_of_pictures()
        .into_iter()
        .enumerate()
        .map(|(number, name)| {
            let boxes = [[10, 8, 12, 12], [20, 16, 16, 14], [26, 10, 12, 18]];
            let mut line = json!({"image": name, "width": 48, "height": 40, "boxes": boxes});
            edit(number, &mut line);
            match line {
                Value::Null => String::new(),
                line => format!("{line}\n"),
            }
        })
        .collect();
    sandbox.write("boxes.jsonl", text);
}

impl Sandbox {
    /// The pictures of [`photos`], from their folder.
    fn names_of_pictures(&self) -> Vec<String> {
        let mut names: Vec<String> = self.names("photos/below").into_iter().collect();
        names
            .iter_mut()
            .for_each(|name| *name = format!("below/{name}"));
        let files = self.names("photos").into_iter();
        names.extend(files.filter(|name| name != "below"));
        names
    }
}

#[test]
fn boxes_that_do_not_fit_are_refused_in_a_line() {
    let sandbox = photos();
    let refused = |sets: &str, parts: &[&str]| {
        let run = format!("{UNIVIP} {sets} --steps 3 --out run --overwrite");
        sandbox.pretrain(&run).refused(parts);
        assert!(sandbox.names("run/checkpoints").is_empty(), "{sets}");
    };
    let from_file = "--set data.boxes=boxes.jsonl";

    refused(
        "--set method.transport_epsilon=0",
        &["method.transport_epsilon = 0", "between 0.001 and 1000"],
    );
    refused("--set data.boxes=nothing.jsonl", &["nothing.jsonl"]);
    refused(
        "--set data.boxes=objects",
        &["data.boxes", "only the embedded scenes know their objects"],
    );

    write_boxes(&sandbox, |number, line| {
        if number == 3 {
            line["boxes"] = json!([[40, 8, 12, 12]]);
        }
    });
    refused(
        from_file,
        &[
            "boxes.jsonl, line 4",
            "the box [40, 8, 12, 12]",
            "outside its picture of 48 x 40",
        ],
    );

    write_boxes(&sandbox, |number, line| {
        if number % 2 == 0 {
            *line = Value::Null;
        }
    });
    refused(
        from_file,
        &["boxes.jsonl is for other pictures", "densecl boxes photos"],
    );

    // The names are the same, and the pictures are not.
    write_boxes(&sandbox, |_, line| line["width"] = json!(50));
    refused(
        from_file,
        &["its boxes are for a picture of 50 x 40, and it has 48 x 40"],
    );

    write_boxes(&sandbox, |_, line| line["boxes"] = json!([[10, 8, 12, 12]]));
    refused(
        from_file,
        &[
            "no image has method.instances = 2 boxes",
            "1.0 boxes an image",
            "data.boxes = \"random\"",
        ],
    );

    sandbox.write("boxes.jsonl", "a.jpg 1 2 3 4\n");
    refused(from_file, &["boxes.jsonl, line 1", "a line is {\"image\""]);
}

#[test]
fn some_pictures_with_too_few_boxes_are_counted() {
    let sandbox = photos();
    write_boxes(&sandbox, |number, line| {
        if number % 3 == 0 {
            line["boxes"] = json!([]);
        }
    });
    let run =
        format!("{UNIVIP} --set data.boxes=boxes.jsonl --set eval.pairs=0 --steps 3 --out run");
    let ran = sandbox.pretrain(&run).succeeded();
    assert!(
        ran.stderr.contains("10 of 30 images have fewer than 2"),
        "{}",
        ran.stderr
    );
}

#[test]
fn boxes_are_found_kept_and_gone_on_with() {
    let sandbox = photos();
    sandbox
        .run("boxes photos --out found.jsonl --min-side 8 --json report.json")
        .succeeded();
    let report = sandbox.json("report.json");
    assert_eq!(
        (&report["pictures"], &report["known"]),
        (&30.into(), &0.into())
    );
    assert!(
        report["mean"].as_f64().is_some_and(|mean| mean > 1.0),
        "{report}"
    );
    assert!(report["ms_per_picture"].as_f64().is_some_and(|ms| ms > 0.0));
    let found = sandbox.text("found.jsonl");
    assert_eq!(found.lines().count(), 30);

    // A picture that changed is searched again, the others are known.
    let half: Vec<&str> = found.lines().take(20).collect();
    sandbox.write("found.jsonl", half.join("\n"));
    sandbox
        .run("boxes photos --out found.jsonl --min-side 8 --json report.json")
        .succeeded();
    assert_eq!(sandbox.json("report.json")["known"], 20);
    assert_eq!(sandbox.text("found.jsonl"), found);

    // A run on the file is the run that searches by itself.
    sandbox
        .pretrain(&format!("{UNIVIP} --steps 3 --out searched"))
        .succeeded();
    sandbox
        .pretrain(&format!(
            "{UNIVIP} --steps 3 --set data.boxes=found.jsonl --out read"
        ))
        .succeeded();
    assert_eq!(sandbox.metrics("searched"), sandbox.metrics("read"));
    assert_eq!(
        sandbox.text("searched/boxes.jsonl"),
        sandbox.text("read/boxes.jsonl")
    );

    // A file of one's own is not overwritten.
    write_boxes(&sandbox, |_, _| {});
    sandbox
        .run("boxes photos --out boxes.jsonl")
        .refused(&["--out boxes.jsonl", "give another file"]);
    sandbox
        .run("boxes photos --out new.jsonl --max-ratio 0.5")
        .refused(&["--max-ratio = 0.5", "at least 1"]);
}

/// A resumed run takes the boxes from its own folder, whatever has become of the file it began with.
#[test]
fn a_run_goes_on_with_the_boxes_it_began_with() {
    let sandbox = photos();
    write_boxes(&sandbox, |_, _| {});
    let run = format!("{UNIVIP} --set data.boxes=boxes.jsonl --set checkpoint.every_steps=2");
    sandbox
        .pretrain(&format!("{run} --steps 6 --out whole"))
        .succeeded();
    sandbox
        .pretrain(&format!("{run} --steps 6 --out cut"))
        .succeeded();
    std::fs::remove_file(sandbox.path("cut/checkpoints/step_00000006.safetensors"))
        .expect("removed");
    std::fs::remove_file(sandbox.path("cut/weights.safetensors")).expect("removed");
    std::fs::remove_file(sandbox.path("boxes.jsonl")).expect("removed");
    sandbox
        .run("pretrain --resume cut --set data.threads=3 --set data.prefetch=1")
        .succeeded();
    assert_eq!(sandbox.metrics("cut"), sandbox.metrics("whole"));
    assert!(sandbox.weights("cut") == sandbox.weights("whole"));
}

/// The objects of the scenes, boxes at random, and selective search give different instances.
#[test]
fn scenes_know_their_objects() {
    let sandbox = Sandbox::new();
    let run = UNIVIP.replace("--data photos", "--set data.source=scenes");
    let losses: Vec<Value> = ["objects", "random", "search"]
        .into_iter()
        .map(|boxes| {
            let run = format!("{run} --steps 3 --set data.boxes={boxes} --out {boxes}");
            sandbox.pretrain(&run).succeeded();
            sandbox.metrics(boxes)[2]["loss_instance"].clone()
        })
        .collect();
    assert!(losses[0] != losses[1] && losses[1] != losses[2] && losses[0] != losses[2]);
    assert!(!sandbox.path("random/boxes.jsonl").exists());
    assert!(sandbox.path("objects/boxes.jsonl").exists());
}
