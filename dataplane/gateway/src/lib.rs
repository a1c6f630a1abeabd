//! The crate that operates: what stands between an operator and the engine.
//!
//! Enters: command lines, configuration files, requests on a management socket, signals. Leaves: calls of the engine's
//! public interface, answers, logs. Never: a packet, and nothing that a program which embeds the engine would need.
#![forbid(unsafe_code)]

pub mod background;
pub mod cli;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod http;
pub mod keys;
pub mod logging;
mod net;
mod netif;
pub mod service;
pub mod signals;
pub mod status;
mod text;
pub mod top;
pub mod uapi;
pub mod up;
pub mod wg;
