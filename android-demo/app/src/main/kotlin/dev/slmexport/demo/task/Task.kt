package dev.slmexport.demo.task

import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.Matrix
import dev.slmexport.demo.model.Sample
import dev.slmexport.demo.runtime.Session
import dev.slmexport.demo.runtime.Tokens
import dev.slmexport.demo.tokenizer.Encoding

/** What a second text is for, where a task takes one. */
enum class Second { PAIR, CONTEXT, CANDIDATES }

/** What one task asks of a model that reads a text at once, and how it reads the answer. */
interface Task {
    val second: Second?

    /** Rows of an output as golden.json has them; `sample` says where in the text they are. */
    fun rows(outputs: Map<String, Matrix>, sample: Sample): Matrix

    /** The answer as golden.json has it: a text, a list, a map, or null. */
    fun answer(rows: Matrix, sample: Sample): Any?

    /** Token ids as the model was taught to read the sample. */
    fun encode(sample: Sample): Encoding

    fun ask(session: Session, text: String, second: String?): Reply
}

/** Whether the model writes its answers, token by token: see Writer. */
val Bundle.writes: Boolean get() = task == "text-generation"

fun taskOf(bundle: Bundle): Task = when (bundle.task) {
    "text-classification" -> when (bundle.head) {
        "multi-label" -> LabelSet(bundle)
        "regression" -> Regression(bundle)
        else -> Classification(bundle)
    }
    "token-classification" -> Tagging(bundle)
    "question-answering" -> QuestionAnswering(bundle)
    "fill-mask" -> MaskFilling(bundle)
    "feature-extraction" -> if (bundle.head == "hidden-states") TokenVectors(bundle) else Embedding(bundle)
    else -> throw UnsupportedOperationException("This app does not know the task ${bundle.task}.")
}

internal fun Encoding.tokens() = Tokens(ids, typeIds)
