"""Every term of the trade that pages use, in plain words; shown by `/help` and the docs."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Term:
    """One term.

    Attributes:
        name: As pages write it.
        plain: What it means, for somebody who has never trained a model.
    """

    name: str
    plain: str


TERMS = MappingProxyType(
    {
        "fine_tuning": Term(
            "Fine-tuning",
            "Teaching a model that can already write how your kind of answer looks, with examples "
            "of yours.",
        ),
        "model": Term(
            "Model",
            "A program that goes on writing where a text ends. What it has learned is in its "
            "weights: many millions of numbers.",
        ),
        "base_model": Term("Base model", "The model as it was before your examples."),
        "tuned_model": Term("Tuned model", "The model after it has learned from your examples."),
        "parameters": Term(
            "Parameters",
            "The numbers that a model consists of. More of them know more, and need more memory "
            "and time.",
        ),
        "instruct": Term(
            "Instruct model",
            "A model that was already taught to answer questions. A pretrained one only goes on "
            "with a text.",
        ),
        "token": Term(
            "Token",
            "A piece of text as the model reads it: a short word or a part of a longer one. In "
            "English a token is about four letters.",
        ),
        "context": Term("Context", "How many tokens the model can look at together, at most."),
        "task": Term(
            "Task",
            "What a row of your table is: a text with its label, a question with an "
            "answer, a whole conversation, or plain text.",
        ),
        "label": Term(
            "Label",
            "The category that a row belongs to, and the right answer to it: one of a few fixed "
            "words.",
        ),
        "supervised": Term(
            "Learned tokens",
            "The part of a row that the model is to write itself: the answer and its end. Only "
            "this is learned; the rest is there to be read.",
        ),
        "context_tokens": Term(
            "Read tokens",
            "What the model is given before it answers: the question, and what stands around it. "
            "It is read, and not learned by heart.",
        ),
        "marker": Term(
            "Marker",
            "A token of its own that no text can spell. It says where a row, a question or an "
            "answer begins and ends.",
        ),
        "truncated": Term(
            "Cut off",
            "What doesn't fit into the longest row. Cut is the start of the question, never the "
            "answer.",
        ),
        "padding": Term(
            "Padding", "Empty places at the end of a row. They cost time and teach nothing."
        ),
        "packing": Term(
            "Packing",
            "Several short rows in one long one, so that little is left empty. They don't see one "
            "another.",
        ),
        "max_length": Term("Longest row", "The most tokens that a row may have."),
        "split": Term(
            "Split",
            "The rows in three parts: one to learn from, one to choose the best moment by, and one "
            "that is kept back to measure the result.",
        ),
        "training_rows": Term("Training rows", "The rows that the model learns from."),
        "validation": Term(
            "Validation rows",
            "Rows that the model doesn't learn from. They are measured now and then, to see when "
            "learning stops to help.",
        ),
        "held_back": Term(
            "Held-back rows",
            "Rows that the training never saw. What the model does with them is what it will do "
            "with new ones.",
        ),
        "data_score": Term(
            "Score of the data",
            "From 0 to 100: how many rows of a hundred are sound, less something for what is wrong "
            "with the data as a whole. It says nothing about how useful the rows are.",
        ),
        "leakage": Term(
            "Leakage",
            "The same row among those to learn from and those to measure with: the result then "
            "looks better than it is.",
        ),
        "loss": Term(
            "Loss",
            "How surprised the model is by the right answers, for each token of them. Less is "
            "better; 0 would mean that it knows every answer for certain. Its unit is called nat.",
        ),
        "perplexity": Term(
            "Perplexity",
            "The loss in another form: among how many equally likely tokens the model chooses, so "
            "to speak. Less is better, and 1 is the least.",
        ),
        "accuracy": Term("Accuracy", "Of all rows, the share that got the right label."),
        "margin": Term(
            "Margin",
            "A share that was measured on a few rows is only roughly that of all such rows. With a "
            "certainty of 95% it lies within these bounds; more held-back rows bring them closer.",
        ),
        "likelihood": Term(
            "Likelihood",
            "The probability that the model gives to each token of the right answers, on average. "
            "It is the loss in another form; more is better.",
        ),
        "precision": Term(
            "Precision", "Of the rows that the model gave a label, the share that have it."
        ),
        "recall": Term("Recall", "Of the rows that have a label, the share that the model found."),
        "f1": Term(
            "F1",
            "Precision and recall in one figure, low if either is low. Macro F1 is its mean over "
            "the labels, however rare they are.",
        ),
        "confusion": Term(
            "Confusion matrix",
            "How often each right label (a row) was answered with each label (a column). What is "
            "right stands on the diagonal.",
        ),
        "confidence": Term(
            "Confidence", "The probability that the model itself gives to its answer."
        ),
        "epoch": Term("Epoch", "One pass over all training rows."),
        "step": Term(
            "Step", "One small change to what is trained, made after looking at one batch of rows."
        ),
        "batch": Term("Batch", "The tokens that the model looks at before it changes once."),
        "micro_batch": Term(
            "Micro-batch",
            "The part of a batch that is in memory at once. Smaller needs less memory and gives "
            "the same result.",
        ),
        "learning_rate": Term(
            "Learning rate",
            "How large each change is. Too large and the model forgets or breaks, too small and it "
            "learns nothing.",
        ),
        "warmup": Term("Warm-up", "The first steps, over which the learning rate rises from 0."),
        "schedule": Term("Schedule", "How the learning rate falls again towards the end."),
        "weight_decay": Term(
            "Weight decay", "A gentle pull towards 0 on what is trained, against learning by heart."
        ),
        "grad_norm": Term(
            "Gradient norm",
            "How strongly a batch pulls at the model. Sudden peaks are a sign that the learning "
            "rate is too high.",
        ),
        "tokens_per_s": Term("Tokens a second", "How fast the training goes, padding not counted."),
        "early_stopping": Term(
            "Early stopping",
            "The training ends by itself when the validation rows don't get better any more; the "
            "best state is kept.",
        ),
        "patience": Term(
            "Patience", "How many measurements without a new best one end the training."
        ),
        "checkpoint": Term(
            "Checkpoint",
            "The state of a training on the disk. A run that was stopped, or killed, goes on from "
            "its last one.",
        ),
        "seed": Term("Seed", "A number that decides all chance: the same seed gives the same run."),
        "lora": Term(
            "LoRA",
            "A way to train that leaves the model as it is and learns small additions beside it. "
            "It takes little memory, and the result is a small file.",
        ),
        "adapter": Term("Adapter", "The additions that LoRA learns: a few megabytes."),
        "rank": Term(
            "Rank", "How large LoRA's additions are. More can learn more, and takes more memory."
        ),
        "alpha": Term(
            "Alpha", "How strongly the additions count: they are scaled by alpha / rank."
        ),
        "dropout": Term(
            "Dropout", "Leaves parts out at random while training, against learning by heart."
        ),
        "targets": Term("Targets", "Which parts of the model get additions."),
        "attention": Term(
            "Attention",
            "The part of a layer in which each token looks at those before it. q, k, v and o are "
            "its four matrices.",
        ),
        "feed_forward": Term(
            "Feed-forward",
            "The part of a layer that works on each token for itself. gate, up and down are its "
            "three matrices.",
        ),
        "dtype": Term(
            "Number format",
            "How exactly each number is kept: float32 takes 4 bytes, bfloat16 takes 2.",
        ),
        "remat": Term(
            "Rematerialisation",
            "Computing things again instead of keeping them: less memory for more time.",
        ),
        "plan": Term(
            "Plan", "What a run will take of memory and time, worked out before it starts."
        ),
        "recipe": Term("Recipe", "All settings of a run in one file."),
        "run": Term("Run", "One training with all that belongs to it: settings, curves, results."),
        "job": Term("Job", "Work that waits for its turn, or is being done, on this machine."),
        "template": Term(
            "Turn template", "How question and answer are marked, so that the model can tell them."
        ),
        "temperature": Term(
            "Temperature",
            "How daring the answers are. 0 always takes the likeliest token; above 1 it gets wild.",
        ),
        "top_k": Term(
            "Top-k",
            "Choose only among so many likeliest tokens. Fewer of them give less variety; it "
            "counts only where the temperature is above 0.",
        ),
        "top_p": Term(
            "Top-p",
            "Choose only among the likeliest tokens that together have this probability: 0.9 "
            "leaves out the unlikeliest tenth. It counts only where the temperature is above 0.",
        ),
        "token_probability": Term(
            "Probability of a token",
            "Before each token the model gives every token that it knows a probability; together "
            "they are 100%. Near 100% it was sure; many small ones mean that it was guessing.",
        ),
        "export": Term(
            "Export", "The tuned model as files that other programs can use, checked before use."
        ),
        "parity": Term(
            "Parity check",
            "A fresh process loads the exported files with the program that people will use, and "
            "must compute the same as was trained.",
        ),
        "hugging_face": Term(
            "Hugging Face folder",
            "The whole tuned model in the form that most programs for language models read.",
        ),
        "peft": Term(
            "PEFT adapter",
            "Only what was learned, a few megabytes; whoever uses it needs the base model too.",
        ),
        "safetensors": Term("safetensors", "A file of weights that can hold nothing but numbers."),
        "sha256": Term(
            "SHA-256", "A fingerprint of a file: if one byte changes, it is another one."
        ),
        "workspace": Term(
            "Workspace", "What belongs together and is seen by the same people: data, runs, jobs."
        ),
        "role": Term(
            "Role",
            "What somebody may do in a workspace: viewers look, editors work, admins decide about "
            "members, owners about all.",
        ),
        "scope": Term("Scope", "What a token may be used for, however much its owner may do."),
        "token_api": Term(
            "Access token", "A password for programs: it can be limited, and taken back."
        ),
        "quota": Term("Quota", "How much of the machine one person or workspace may use."),
        "audit": Term(
            "Audit log",
            "Who did what and when. Its entries are chained, so that none can be changed unseen.",
        ),
    }
)
"""By the name that pages and links use."""
