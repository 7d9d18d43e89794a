package dev.slmexport.demo.runtime

import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.model.Bundle
import dev.slmexport.demo.model.Matrix
import dev.slmexport.demo.model.TensorSpec

/** Token ids of one text, and which of two texts each belongs to. */
class Tokens(val ids: IntArray, val types: IntArray? = null) {
    /** What goes in under an input's name, as long as the artifact wants it. */
    fun padded(spec: TensorSpec, length: Int, padId: Int): IntArray = when (spec.name) {
        "input_ids" -> IntArray(length) { ids.getOrElse(it) { padId } }
        "attention_mask" -> IntArray(length) { if (it < ids.size) 1 else 0 }
        "token_type_ids" -> IntArray(length) { types?.getOrNull(it) ?: 0 }
        else -> throw IllegalArgumentException("This app knows no input ${spec.name}.")
    }
}

/** An artifact that is open: a text in, each output's rows out, by the outputs' names. */
interface Session : AutoCloseable {
    /** Name and version of the runtime, as far as it tells. */
    val runtime: String

    fun run(tokens: Tokens): Map<String, Matrix>

    companion object {
        fun open(bundle: Bundle, artifact: Artifact): Session = when (artifact.format) {
            "onnx" -> OnnxSession(bundle.file(artifact.path), artifact)
            "tflite" -> LiteRtSession(bundle.file(artifact.path), artifact)
            "executorch" -> ExecutorchSession(bundle.file(artifact.path), artifact)
            else -> throw IllegalArgumentException("This app has no runtime for ${artifact.format}.")
        }
    }
}

/** A causal language model that is open: tokens are read one after another, and each reading says what could be next. */
interface CausalSession : AutoCloseable {
    val runtime: String

    /** Forgets what was read. */
    fun restart()

    /** The logits behind the last of these tokens. */
    fun read(ids: IntArray): FloatArray

    companion object {
        fun open(bundle: Bundle, artifact: Artifact): CausalSession = when (artifact.format) {
            "onnx" -> OnnxCausalSession(bundle.file(artifact.path), artifact)
            "executorch" -> ExecutorchCausalSession(bundle.file(artifact.path), artifact)
            else -> throw UnsupportedOperationException(
                "${artifact.path} is for LiteRT-LM, which is not part of this app.",
            )
        }
    }
}

internal fun requireFits(tokens: Tokens, artifact: Artifact) = require(tokens.ids.size <= artifact.maxLength) {
    "The text has ${tokens.ids.size} tokens; the model takes ${artifact.maxLength} at most."
}

/** Of a batch's numbers those of its first text. */
internal fun firstOfBatch(values: FloatArray, shape: LongArray): Matrix {
    val columns = shape.last().toInt()
    val own = values.size / shape.first().toInt()
    return Matrix(own / columns, columns, values.copyOf(own))
}
