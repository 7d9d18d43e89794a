package dev.slmexport.demo.runtime

import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.model.Matrix
import java.io.File
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

private const val RUNTIME = "executorch"  // which does not tell its version

class ExecutorchSession(file: File, private val artifact: Artifact) : Session {
    private val module = opened(file)
    override val runtime = RUNTIME

    override fun run(tokens: Tokens): Map<String, Matrix> {
        requireFits(tokens, artifact)
        val shape = artifact.inputs.first().shape
        val rows = shape.first() ?: 1
        val length = shape[1] ?: tokens.ids.size
        val inputs = artifact.inputs.map { spec ->
            val values = tokens.padded(spec, length, artifact.padId)
            EValue.from(integers(spec.dtype, values.copyOf(rows * length), longArrayOf(rows.toLong(), length.toLong())))
        }
        val made = module.forward(*inputs.toTypedArray())
        return artifact.outputs.mapIndexed { at, spec -> spec.name to matrix(made[at].toTensor()) }.toMap()
    }

    override fun close() = module.destroy()
}

class ExecutorchCausalSession(file: File, private val artifact: Artifact) : CausalSession {
    private val module = opened(file)
    private val atOnce = module.execute("get_max_seq_len").first().toInt().toInt()
    private var read = 0L
    override val runtime = RUNTIME

    override fun restart() {
        read = 0
    }

    override fun read(ids: IntArray): FloatArray =
        (ids.indices step atOnce).map { some(ids.copyOfRange(it, minOf(it + atOnce, ids.size))) }.last()

    override fun close() = module.destroy()

    private fun some(ids: IntArray): FloatArray {
        val dtype = artifact.parts.first().inputs.first().dtype
        val tokens = integers(dtype, ids, longArrayOf(1, ids.size.toLong()))
        val start = Tensor.fromBlob(longArrayOf(read), longArrayOf(1))
        val logits = matrix(module.forward(EValue.from(tokens), EValue.from(start)).first().toTensor())
        read += ids.size
        return logits[logits.rows - 1]
    }
}

/** Loads the program and its method, whose operators may be unknown to an older runtime: that is told here. */
private fun opened(file: File): Module {
    val module = Module.load(file.path, Module.LOAD_MODE_MMAP)
    val error = module.loadMethod("forward")
    check(error == 0) {
        val log = module.readLogBuffer().orEmpty().takeLast(3).joinToString(" ") { it.trim() }
        module.destroy()
        "ExecuTorch refuses ${file.name} with error $error. $log"
    }
    return module
}

private fun integers(dtype: String, values: IntArray, shape: LongArray): Tensor =
    if (dtype == "int32") Tensor.fromBlob(values, shape)
    else Tensor.fromBlob(LongArray(values.size) { values[it].toLong() }, shape)

private fun matrix(tensor: Tensor) = firstOfBatch(tensor.dataAsFloatArray, tensor.shape())
