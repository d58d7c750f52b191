"""The engine on Relax and TensorIR: targets, lowering, tasks, compilation."""
