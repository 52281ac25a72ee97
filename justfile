# The tasks of a person who changes densecl: `just` lists them. `cargo install just --locked` installs it.
# Each is one or two commands that also work without just; CONTRIBUTING.md has the rules behind them.

# Arguments reach a command as they were given, names with spaces too.
set positional-arguments

[private]
default:
    @{{ just_executable() }} --list --unsorted

# The quick start, or any command: just run match a.jpg b.jpg
run *arguments:
    cargo run --release -- "$@"

# Whether everything compiles, tests too; quicker than building it
check:
    cargo check --release --locked --workspace --all-targets

# All tests, or some: just test losses; just test --test parity; just test --bin densecl settings
test *filter:
    cargo test --release "$@"

# Formatting, clippy and the workflows, as the CI checks them
lint:
    cargo fmt --all --check
    cargo clippy --release --locked --workspace --all-targets -- -D warnings
    npm ci --prefix .ci --no-audit --no-fund
    node .ci/workflows.mjs

# The package for browsers in web/dist; just web cpu builds only that module
web *arguments:
    npm ci --prefix web --no-audit --no-fund
    web/build.sh "$@"

# The demo page at http://localhost:8080, built again after each change; needs trunk
serve-web:
    trunk serve

# The comparison with PyTorch; just bench --quick checks that it runs
bench *arguments:
    cargo run --release --bin densecl-bench -- "$@"

# The reference of the libraries, opened in a browser
docs:
    cargo doc --release --locked --workspace --no-deps --open

# A fuzzer for some seconds: just fuzz torch 300; needs cargo-fuzz
fuzz target seconds="60":
    cd fuzz && python3 -B seeds.py && RUSTC_BOOTSTRAP=1 cargo fuzz run {{ target }} -O -- -max_total_time={{ seconds }} -timeout=10

# All checks that a change must pass
ci:
    .ci/run
