//! What a ResNet and its contrastive loss spend their time in, on a CPU.
