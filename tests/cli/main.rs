//! Tests the program by its command line: arguments, exit codes, output and files. All training runs but the
//! quick start are tiny (a narrow ResNet-10 on 64 px views), so that they take seconds.

mod bad_boxes;
mod bad_data;
mod bad_settings;
mod bad_storage;
mod bad_weights;
mod embed;
mod eval_dense;
mod eval_instances;
mod eval_more;
mod eval_video;
mod interop;
mod kills;
mod memory;
mod odd_names;
mod outputs;
mod ownership;
mod pack;
mod parts_of_files;
mod photos;
mod quickstart;
mod ranks;
mod resume;
mod runs;
mod sandbox;
mod search;
mod serve;
mod tools;
mod tutorial;
mod variants;
