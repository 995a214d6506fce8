//! Mistakes in the middle of a test: they read as those in the attribute.

use kata_test::{require, skip};

fn names() {
    require!(rot, kernel_gee = "5.10");
}

fn values() {
    require!(kernel_ge = "5.x", kernel_ge = "6", kernel_ge = "6");
}

fn metadata() {
    require!(root, issue = "x/1", reason = "r", timeout = "soon", serial = "disk", own_machine);
}

fn nothing() {
    require!();
}

fn no_reason() {
    skip!();
}

fn main() {}
