//! Unit tests of the layouts, and of what is said about what is wrong in them.

use super::key_points::COLUMNS;
use super::*;

#[test]
fn homographies_map_pixel_centres_at_whole_numbers() {
    // Scales by two, then shifts by 3 to the right.
    let truth = Truth::Homography([2.0, 0.0, 3.0, 0.0, 2.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(truth.at([1.5, 2.5], [100, 100]), Some([5.5, 4.5]));
    assert_eq!(truth.at([1.5, 2.5], [5, 100]), None);
    // The homogeneous coordinate w is negative: the point lies behind the camera.
    let truth = Truth::Homography([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 1.0]);
    assert_eq!(truth.at([9.5, 0.5], [100, 100]), None);
}

#[test]
fn layouts_are_recognised_and_a_missing_picture_is_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("written");
    };
    let find = |below: &str| find(&dir.path().join(below).to_string_lossy());
    let message = |below: &str| format!("{:#}", find(below).expect_err("refused"));

    write("h/boat/1.jpg", "");
    write("h/boat/2.PPM", "");
    write("h/boat/._1.jpg", "");
    write("h/__MACOSX/H_1_2.txt", "");
    write("h/boat/H_1_2.txt", "1 0 0\n0 1 0\n0 0 1\n");
    let pairs = find("h").expect("a folder of folders");
    assert_eq!(pairs.len(), 1);
    assert_eq!(pairs[0].name, "boat 1-2");
    assert_eq!(find("h/boat").expect("a folder"), pairs);
    write("h/boat/H_1_3.txt", "1 0 0 0 1 0 0 0 1");
    assert!(message("h").contains("H_1_3.txt speaks of a picture that is not there"));
    write("h/boat/H_1_3.txt", "1 0 0");
    write("h/boat/3.jpg", "");
    assert!(message("h").contains("H_1_3.txt: expected 3 x 3 numbers"));

    write("s/images/7_a.png", "");
    write("s/images/7_b.png", "");
    write("s/correspondence/7_ab.npy", "");
    write("s/correspondence/7_ba.npy", "");
    assert_eq!(find("s").expect("scenes").len(), 1);

    write(
        "k.csv",
        "image_a, image_b, xa, ya, xb, yb\na.png,b.png,1,2,3,4\na.png,b.png,5,6,7,8.5\n",
    );
    let pairs = find("k.csv").expect("key points");
    assert_eq!(pairs.len(), 1);
    write("k.csv", &format!("{COLUMNS}\na.png,b.png,1,2,3,x\n"));
    assert!(message("k.csv").contains("line 2"));
    write("k.csv", "a,b\n");
    assert!(message("k.csv").contains(COLUMNS));

    write("empty/readme", "");
    assert!(message("empty").contains("no pairs with truth"));
    assert!(message("nowhere").contains("nowhere cannot be listed"));
}
