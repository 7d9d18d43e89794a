package dev.slmexport.demo.runtime

import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.model.Matrix
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.TensorFlowLite

class LiteRtSession(file: File, private val artifact: Artifact) : Session {
    private val interpreter = Interpreter(file, Interpreter.Options().setNumThreads(THREADS))
    override val runtime = "LiteRT ${TensorFlowLite.runtimeVersion()}"

    override fun run(tokens: Tokens): Map<String, Matrix> {
        requireFits(tokens, artifact)
        val signature = artifact.signatures.first { it.sequence >= tokens.ids.size }
        val inputs = artifact.inputs.associate { spec ->
            spec.name to firstRow(tokens.padded(spec, signature.sequence, artifact.padId), signature.sequence)
        }
        val shapes = artifact.outputs.associate { spec ->
            val shape = interpreter.getOutputTensorFromSignature(spec.name, signature.name).shape()
            spec.name to LongArray(shape.size) { shape[it].toLong() }
        }
        val outputs = shapes.mapValues { (_, shape) -> buffer(shape.fold(1L) { a, b -> a * b }.toInt()) }
        interpreter.runSignature(inputs, outputs, signature.name)
        return outputs.mapValues { (name, bytes) -> firstOfBatch(floats(bytes), shapes.getValue(name)) }
    }

    override fun close() = interpreter.close()

    /** The text as the first of the batch's rows; the others stay empty. */
    private fun firstRow(values: IntArray, length: Int): ByteBuffer =
        buffer(artifact.batch * length).also { it.asIntBuffer().put(values) }

    private fun buffer(numbers: Int) = ByteBuffer.allocateDirect(numbers * Int.SIZE_BYTES).order(ByteOrder.nativeOrder())

    private fun floats(bytes: ByteBuffer): FloatArray {
        bytes.rewind()
        return FloatArray(bytes.remaining() / Float.SIZE_BYTES).also(bytes.asFloatBuffer()::get)
    }
}

private const val THREADS = 2
