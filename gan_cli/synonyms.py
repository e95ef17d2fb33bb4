"""Names in other tools for the options of gan-cli. Nothing here imports anything else."""

import re

EPOCH = "in rounds; an epoch is as many rounds as batches are in the data"  # remark on epochs
BOTH = "both numbers in brackets, such as optimizer.betas=[0.5,0.999]"  # remark on Adam's betas
WORDS: tuple[tuple[str, str, str], ...] = (
    ("optimizer.lr", "lr learning_rate base_lr init_lr step_size", ""),
    ("optimizer.players.generator.lr", "g_lr lr_g glr gen_lr generator_lr lr_generator", ""),
    (
        "optimizer.players.discriminator.lr",
        "d_lr lr_d dlr disc_lr discriminator_lr critic_lr lr_discriminator",
        "",
    ),
    ("optimizer.betas", "beta1 beta2 b1 b2 beta betas adam_betas adam_beta1 adam_beta2", BOTH),
    ("optimizer.weight_decay", "wd weight_decay l2 decay", ""),
    ("optimizer.momentum", "momentum", ""),
    ("optimizer.eps", "eps epsilon adam_eps", ""),
    ("optimizer", "optim opt optimiser", ""),
    ("schedule", "scheduler lr_scheduler lr_policy lr_decay lr_schedule", ""),
    ("batch_size", "batch bs batchsize minibatch mb_size batch_gpu train_batch_size", ""),
    ("steps", "epochs n_epochs num_epochs max_epochs nepochs epoch nepoch", EPOCH),
    (
        "steps",
        "iters niter n_iter iterations num_iterations n_iters max_iter max_steps total_steps "
        "num_steps train_steps rounds kimg",
        "in rounds",
    ),
    ("minutes", "max_time time hours max_minutes", "of training"),
    ("seed", "random_seed manual_seed seeds random_state", ""),
    (
        "model.latent",
        "z_dim nz zdim dim_z z_size latent_dim latent_size noise_dim n_z latent z",
        "",
    ),
    ("model.prior", "prior noise_type z_dist latent_distribution", ""),
    (
        "model.repeat.discriminator",
        "n_critic critic_iters d_steps n_dis num_d_steps d_iters n_disc ncritic k",
        "",
    ),
    ("model.repeat.generator", "g_steps n_gen num_g_steps g_iters", ""),
    (
        "model.ema",
        "ema ema_decay ema_beta ema_rate use_ema moving_average",
        "a decay, such as model.ema=0.999",
    ),
    ("model.critic_norm", "norm norm_layer spectral_norm sn d_norm batch_norm", ""),
    ("model.cycle", "lambda_a lambda_b lambda_cycle cycle_weight", ""),
    ("model.identity", "lambda_idt lambda_identity", ""),
    ("model.pool", "pool_size buffer_size", "of model=cyclegan"),
    ("model.l1", "lambda_l1", ""),
    ("data.factor", "scale upscale sr_scale", "with data.make=downscaled"),
    ("model", "gan gan_type algorithm method", ""),
    ("loss", "loss_type criterion gan_mode adversarial_loss loss_fn objective_function", ""),
    ("network", "arch architecture net backbone netg netd", ""),
    (
        "network.width",
        "nf dim hidden hidden_dim hidden_size channels base_channels ch num_filters width",
        "",
    ),
    ("network.generator.width", "ngf gf_dim g_dim gen_dim", ""),
    ("network.discriminator.width", "ndf df_dim d_dim disc_dim", ""),
    ("network.depth", "n_layers num_layers layers depth", ""),
    (
        "regularizer.weight",
        "lambda lambda_gp gp_weight gp_lambda gp_coef penalty_weight lambda_ r1_gamma gamma gp",
        "",
    ),
    ("regularizer.clip", "clip clip_value weight_clip clip_weight weight_clipping", ""),
    ("regularizer", "penalty gradient_penalty regularization reg", ""),
    ("augmentation", "augment aug diffaug diff_aug augmentations", ""),
    ("features", "perceptual_network feature_extractor lpips vgg", ""),
    ("data", "dataset datasets data_name dataset_name", ""),
    (
        "data.root",
        "dataroot data_root data_dir datadir data_path dataset_path root",
        "where benchmarks lie",
    ),
    (
        "data.image_size",
        "image_size img_size imsize imagesize resolution img_dim size crop_size",
        "",
    ),
    (
        "hydra.run.dir",
        "outdir out_dir output_dir output outf out save_dir savedir logdir log_dir run_dir "
        "exp_dir checkpoint_dir checkpoints_dir workdir work_dir results_dir name run_name "
        "exp_name experiment_name",
        "a folder",
    ),
    (
        "hardware.devices",
        "gpus n_gpu num_gpus ngpu n_gpus devices world_size nproc_per_node",
        "a number, or all",
    ),
    ("hardware.device", "device cuda gpu gpu_id accelerator use_cuda no_cuda", "auto, cpu or gpu"),
    (
        "hardware.precision",
        "fp16 amp half mixed_precision precision bf16 use_amp dtype",
        "fp32, tf32, bf16 or fp16",
    ),
    ("hardware.nodes", "nodes num_nodes nnodes", ""),
    (
        "hardware.shards",
        "grad_accum gradient_accumulation accumulate_grad_batches accumulation_steps",
        "",
    ),
    ("hardware.compile", "compile torch_compile", ""),
    ("hardware.threads", "threads n_cpu num_threads cpus cores", ""),
    ("hardware.deterministic", "deterministic cudnn_deterministic", ""),
    (
        "checkpoint_every",
        "save_every save_freq snap snapshot checkpoint_freq save_interval save_epoch_freq",
        "",
    ),
    ("log_every", "log_interval log_freq print_freq print_every log_step display_freq", ""),
    ("sample_every", "sample_interval sample_freq sample_step visualize_every", ""),
    ("evaluate_every", "eval_every eval_freq eval_interval val_every", ""),
    ("evaluate_samples", "num_fid_samples fid_samples eval_samples n_eval", ""),
    ("objective", "metric metrics monitor", ""),
    (
        "init_from",
        "pretrained resume_from checkpoint ckpt resume_path init_checkpoint load_from",
        "a checkpoint",
    ),
    (
        "checkpoint",
        "ckpt model network pkl model_path checkpoint_path run load",
        "a file or a run's folder",
    ),
    ("truncation", "trunc psi truncation_psi", ""),
    ("n", "num num_samples n_samples nsamples samples count batch_size", ""),
    ("classes", "class label labels class_idx", ""),
    ("output", "outdir out output_dir outfile out_dir save_to file", ""),
    ("samples", "fake fake_dir generated gen_dir fakes", "a folder of images"),
    ("real", "real_dir reals reference ref", "a folder of images"),
)
"""The name in gan-cli, the names in other tools, and a remark on the value."""

NONE = {
    name: message
    for names, message in {
        "workers num_workers n_workers nworkers j dataloader_workers": (
            "there are no workers, for the data lies in memory; hardware.threads sets the threads "
            "of the CPU"
        ),
        "verbose v quiet q debug": "what a run says is in its folder's train.log",
        "wandb use_wandb project tensorboard tb": (
            "TensorBoard and metrics.jsonl are always written"
        ),
        "train test mode": "gan-train trains, gan-sample samples, gan-evaluate scores",
    }.items()
    for name in names.split()
}
"""Names of options that gan-cli does not have, and a sentence on the alternative."""


def bare(word: str) -> str:
    """A word in lower case, with underscores, without the leading signs of flags and overrides."""
    return re.sub(r"[-\s]", "_", word.lstrip("-+~").lower())


def called(word: str) -> list[tuple[str, str]]:
    """Options that other tools call `word`, with a remark on the value; the likeliest first."""
    return [
        (ours, remark)
        for ours, theirs, remark in WORDS
        if bare(word) in theirs.split() or bare(word) == ours
    ]


def meant(word: str, known: list[str]) -> str | None:
    """The one of the known names that other tools call `word`; None if there is none."""
    names = [name for ours, _ in called(word) for name in (ours, ours.rpartition(".")[2])]
    return next((name for name in names if name in known), None)
