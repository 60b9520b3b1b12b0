//! What a scenario is made of: a sandbox that vanishes with its process, a network whose bytes are counted by
//! connection, guests that are real Linux kernels, and servers that can be killed. Nothing here judges a result.

pub mod bytes;
pub mod client;
pub mod clock;
pub mod command;
pub mod far;
pub mod ganesha;
pub mod guest;
pub mod headrace;
pub mod kernels;
pub mod lab;
pub mod metrics;
pub mod net;
pub mod s3_proxy;
pub mod sandbox;
pub mod seaweed;
